"""Compiles the TPU trainer's own step for LongCat-Flash of the real size on described slices: memory of a chip.

python tests/bench/tpu_compile_longcat.py [v6e-16-int4] [v5p-8-int8] [LAYERS]

Needs no TPU: libtpu compiles on a processor, 4 to 8 CPU minutes and 4 GB for a row; one JSON line each. Exit code 1 when
a row is above its bar, multiplies in float32 what is meant to be bf16, or puts a large array together on one chip.

On 2026-12-01, GiB of a chip (arguments + temporary): v5p-8-int8 76.63 (67.62 + 8.95), 188 CPU seconds; v6e-16-int4 25.79
(17.54 + 8.18), 428 CPU seconds, the latter before experts' matrices were no longer kept for backward, which took 6 GiB
off the former. Nothing larger than 72 MiB is put together.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A slice, and the GiB of a chip that the step may take of how many."""

    generation: str
    chips: int
    quantisation: str
    bar: float
    memory: float


ROWS = {
    "v6e-16-int4": Row("v6e", 16, "int4", 28.6, 31.25),
    "v5p-8-int8": Row("v5p", 8, "int8", 82.0, 95.0),
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
ROUTER = "6144x768xf32"  # the one product that is meant to be in float32
BITS = {"f32": 32, "s32": 32, "u32": 32, "bf16": 16, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "pred": 8}


def main(names: list[str]) -> int:
    """Start each row in the environment that has libtpu."""
    from cloudtrain.trainer import environment

    layers = next((name for name in names if name.isdigit()), str(CHAT["num_layers"]))
    python, bad = environment.ensure("tpu", print), 0
    for name in [name for name in names if not name.isdigit()] or list(ROWS):
        bad |= subprocess.run([str(python), __file__, "compile", name, layers], check=False).returncode
    return int(bool(bad))


def compiled(name: str, layers: int) -> dict[str, Any]:
    """One row: the figures of the compiler, and what is wrong with them."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "templates" / "tpu"))
    import lowering

    os.environ.update(lowering.SURROUNDINGS)
    row, began = ROWS[name], time.process_time()
    job = lowering.job_of(
        {
            **{"method": "qlora", "quantisation": row.quantisation, "lora": {"rank": RANK, "targets": "attention"}},
            **{"sequence_length": LENGTH, "micro_batch": row.chips},
        }
    )
    made = lowering.compile_step({**CHAT, "num_layers": layers}, job, row.generation, row.chips)
    sizes, gathered = made.sizes, largest_gather(made.text)
    if keep := os.environ.get("KEEP_HLO"):
        Path(keep).write_text(made.text)
    wrong = [f"float32 product of {each}" for each in float32_products(made.written) if ROUTER not in each]
    wrong += [f"{gathered:,} bytes are put together on a chip"] if gathered > LARGE else []
    if not sizes.fits or sizes.peak > row.bar * 2**30:
        wrong.append(f"{sizes.peak / 2**30:.2f} GiB of {row.memory} is above {row.bar}")
    return {
        **{"row": name, "layers": layers, "plan": made.plan, "fits": sizes.fits},
        "peak_gib": round(sizes.peak / 2**30, 2),
        "arguments_gib": round(sizes.arguments / 2**30, 2),
        "temporary_gib": round(sizes.temporary / 2**30, 2),
        "largest_gather_mib": round(gathered / 2**20),
        "all_to_all": len(re.findall(r"all-to-all(?:-start)?\(", made.text)),
        "kernels": made.text.count("tpu_custom_call"),
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
    largest = 0
    for shapes in re.findall(r"= (.*?) all-gather(?:-start)?\(", text):
        for kind, shape in re.findall(rf"({'|'.join(BITS)})\[([\d,]*)\]", shapes):
            count = 1
            for size in shape.split(","):
                count *= int(size or 1)
            largest = max(largest, count * BITS[kind] // 8)
    return largest


if __name__ == "__main__":
    if sys.argv[1:2] == ["compile"]:
        answer = compiled(sys.argv[2], int(sys.argv[3]))
        print(json.dumps(answer), flush=True)
        sys.exit(int(bool(answer["wrong"])))
    sys.exit(main(sys.argv[1:]))
