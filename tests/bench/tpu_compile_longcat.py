"""Compiles the TPU trainer's own step for LongCat-Flash of the real size on described slices: memory of a chip.

python tests/bench/tpu_compile_longcat.py [v6e-16-int4] [v5p-8-int8] [LAYERS]

Needs no TPU: libtpu compiles on a processor, 4 to 7 CPU minutes and 4 GB for a row; one JSON line each. Exit code 1 when
a row is above its bar, multiplies in float32 what is meant to be bf16, or puts a large array together on one chip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Name: libtpu's name of the slice, chips, form of the weights, GiB of a chip that may be used, of how many.
ROWS = {
    "v6e-16-int4": ("v6e:4x4x1", 16, "int4", 28.6, 31.25),
    "v5p-8-int8": ("v5p:2x2x2", 8, "int8", 82.0, 95.0),
}
LENGTH, RANK = 2048, 16  # tokens of each chip; rank of the adapters on both attentions
LARGE = 1 << 30  # bytes that no gathered array may have
CHAT: dict[str, Any] = {
    "model_type": "longcat_flash",
    "architectures": ["LongcatFlashForCausalLM"],
    **{"vocab_size": 131072, "hidden_size": 6144, "num_layers": 28, "num_attention_heads": 64},
    **{"q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128},
    **{"ffn_hidden_size": 12288, "expert_ffn_hidden_size": 2048, "n_routed_experts": 512, "zero_expert_num": 256},
    **{"moe_topk": 12, "routed_scaling_factor": 6.0, "rope_theta": 1e7, "rms_norm_eps": 1e-5},
    "max_position_embeddings": 131072,
}
QUIET = {
    **{"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"},
    **{"TPU_ACCELERATOR_TYPE": "v6e-4", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
}


def main(names: list[str]) -> int:
    """Start each row in the environment that has libtpu."""
    from cloudtrain.trainer import environment

    layers = next((name for name in names if name.isdigit()), str(CHAT["num_layers"]))
    python, bad = environment.ensure("tpu", print), 0
    for name in [name for name in names if not name.isdigit()] or list(ROWS):
        command = [str(python), __file__, "compile", name, layers]
        bad |= subprocess.run(command, env={**os.environ, **QUIET}, check=False).returncode
    return int(bool(bad))


def compiled(name: str, layers: int) -> dict[str, Any]:
    """One row: the figures of the compiler, and what is wrong with them."""
    topology, chips, kind, bar, memory = ROWS[name]
    began = time.process_time()
    lowered = _lowered(topology, chips, kind, layers)
    meant = lowered.as_text()
    program = lowered.compile()
    sizes = program.memory_analysis()
    arguments, temporary = sizes.argument_size_in_bytes, sizes.temp_size_in_bytes
    peak = arguments + sizes.output_size_in_bytes - sizes.alias_size_in_bytes + temporary
    peak += sizes.generated_code_size_in_bytes
    text = program.as_text()
    if keep := os.environ.get("KEEP_HLO"):
        Path(keep).write_text(text)
    wide, gathered = float32_products(meant), largest_gather(text)
    wrong = [f"float32 product {each}" for each in wide if "x768xf32" not in each]  # the router's is meant so
    wrong += [f"{peak / 2**30:.2f} GiB of {memory} is above {bar}"] if peak > bar * 2**30 else []
    wrong += [f"{gathered:,} bytes are put together on a chip"] if gathered > LARGE else []
    return {
        "row": name,
        "layers": layers,
        "peak_gib": round(peak / 2**30, 2),
        "arguments_gib": round(arguments / 2**30, 2),
        "temporary_gib": round(temporary / 2**30, 2),
        "largest_gather_mib": round(gathered / 2**20),
        "all_to_all": len(re.findall(r"all-to-all(?:-start)?\(", text)),
        "all_gather": len(re.findall(r"all-gather(?:-start)?\(", text)),
        "kernels": text.count("tpu_custom_call"),
        "cpu_s": round(time.process_time() - began),
        "wrong": wrong,
    }


def float32_products(text: str) -> list[str]:
    """Operands of the matrix products in float32, of the program as it was written.

    What only adds up along a dimension (the attention kernel's own, of outputs and their gradients) is no product.
    """
    found = set()
    for line in re.findall(r"[^\n]*(?:dot_general|ragged_dot)[^\n]*", text):
        operands = re.search(r": \((tensor<([^>]*)xf32>), (tensor<[^>]*xf32>)", line)
        kept = re.search(r"batching_dims = \[([\d, ]*)\]", line)
        summed = re.search(r"contracting_dims = \[([\d, ]*)\]", line)
        dims = [len(it.group(1).split(",")) if it and it.group(1) else 0 for it in (kept, summed)]
        if operands and operands.group(2).count("x") + 1 > sum(dims):
            found.add(f"{operands.group(1)}, {operands.group(3)}")
    return sorted(found)


def largest_gather(text: str) -> int:
    """Bytes of the largest array that the compiled program gathers on a chip."""
    bits = {"f32": 32, "s32": 32, "u32": 32, "bf16": 16, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "pred": 8}
    largest = 0
    for line in re.findall(r"= (.*?) all-gather(?:-start)?\(", text):
        for kind, shape in re.findall(r"(f32|s32|u32|bf16|s8|u8|s4|u4|pred)\[([\d,]*)\]", line):
            count = 1
            for size in shape.split(","):
                count *= int(size or 1)
            largest = max(largest, count * bits[kind] // 8)
    return largest


def _lowered(topology: str, chips: int, kind: str, layers: int) -> Any:
    """The trainer's step for a micro-batch of one row a chip, lowered for the slice."""
    templates = Path(__file__).resolve().parents[2] / "templates"
    sys.path[:0] = [str(templates / "tpu"), str(templates / "common")]
    import adapters
    import architectures
    import decoder
    import jax
    import jax.numpy as jnp
    import learn
    import mesh as meshes
    import model
    from jax.experimental import topologies
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P
    from job import Checkpoint, Data, Job

    cat = decoder.from_config({**CHAT, "num_layers": layers})
    parts = architectures.of(cat)
    described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    mesh = meshes.make(parts.plan(chips, cat, chips), described.devices)
    how = model.How(dtype=jnp.bfloat16, attention="splash", mesh=mesh)

    def placed(path: Any, leaf: Any) -> Any:
        side = getattr(path[-1], "key", "")
        cut = meshes.adapter_cut(mesh, side, leaf.shape) if side in ("a", "b") else P()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, cut))

    job = Job(model="longcat", data=Data("/data"), checkpoint=Checkpoint("/checkpoints"), output="/output")
    change = learn.rule(job)
    pairs = {}
    for name in adapters.names(cat, "attention"):
        inputs, outputs = cat.matrices[name]
        count = adapters.blocks(cat, name)
        shapes = {"a": (count, inputs, RANK), "b": (count, RANK, outputs)}
        pairs[name] = {side: jax.ShapeDtypeStruct(shape, jnp.float32) for side, shape in shapes.items()}
    begun = learn.State(pairs, jax.eval_shape(change.init, pairs))
    begun = jax.tree_util.tree_map_with_path(placed, begun)
    frozen = parts.shapes(cat, mesh, kind, jnp.bfloat16)
    row = jax.ShapeDtypeStruct((1, chips, LENGTH), jnp.int32, sharding=NamedSharding(mesh, P(None, how.batch_axes)))

    def loss_sum(trained: Any, frozen: Any, batch: Any, key: Any) -> Any:
        return parts.loss_sum(cat, how, frozen, trained, batch, key)

    step = learn.stepper(loss_sum, change, begun)
    number = jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=NamedSharding(mesh, P()))
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=NamedSharding(mesh, P()))
    return step.lower(begun, frozen, model.Batch(*(row,) * 4), rate, number)


if __name__ == "__main__":
    if sys.argv[1:2] == ["compile"]:
        row = compiled(sys.argv[2], int(sys.argv[3]))
        print(json.dumps(row), flush=True)
        sys.exit(int(bool(row["wrong"])))
    sys.exit(main(sys.argv[1:]))
