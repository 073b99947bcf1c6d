"""Compiles the trainer's own step for a TPU that is only described, and says what memory the compiler gives it.

`python lowering.py < document.json` in the environment with libtpu; no TPU is needed and nothing is allocated. The
document holds the model's `config` (config.json), the `job`'s keys that matter (method, lora, sequence_length,
micro_batch, grad_accum, optimizer, activation_checkpointing), the `generation` (v5e, ...) and the number of `devices`.
The answer is one JSON object: bytes by kind, or `unsupported` with a sentence.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

# JAX itself stays on the CPU and libtpu must not look for a machine: all of this is read when jax is imported.
SURROUNDINGS = {
    **{"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"},
    **{"TPU_ACCELERATOR_TYPE": "v6e-4", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
}
# (devices, topology) from small to large. v5e and v6e lie on a plane, the others in space; a TPU7x chip is two devices.
_PLANE = ((4, "2x2x1"), (16, "4x4x1"), (64, "8x8x1"), (256, "16x16x1"))
_SPACE = ((4, "2x2x1"), (8, "2x2x2"), (16, "2x2x4"), (32, "2x4x4"), (64, "4x4x4"))
TOPOLOGIES = {
    **{"v4": _SPACE, "v5e": _PLANE, "v5p": _SPACE, "v6e": _PLANE},
    "tpu7x": tuple((2 * devices, shape) for devices, shape in _SPACE),
}
# A v4 chip is described as two devices unless its cores are joined, as they are in use.
CHIP_CONFIGURATION = {"v4": {"chip_config_name": "megacore"}}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_SIZE = r"([0-9.]+)([KMG])"
_OVERFLOWS = (rf"Used {_SIZE} of {_SIZE} hbm", rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)")


class Sizes(NamedTuple):
    """HBM of each device in bytes, as the compiler has planned it; where it does not fit, only the last is told too."""

    fits: bool
    peak: int
    arguments: int = 0
    temporary: int = 0
    output: int = 0  # beyond what takes the place of an argument
    code: int = 0
    available: int | None = None  # what the compiler says that the chip has, where it is too little


class Compiled(NamedTuple):
    """What came of it: sizes, how the chips share, the program as it was written, and the optimised one if there is."""

    sizes: Sizes
    plan: str
    written: str
    text: str


def compile_step(config: dict[str, Any], job: Any, generation: str, devices: int) -> Compiled:
    """The trainer's step for the model and the job, compiled for so many devices of a TPU generation.

    Raises failures.BadJob for what the trainer cannot do.
    """
    import architectures
    import decoder as decoders
    import jax
    import jax.numpy as jnp
    import learn
    import mesh as meshes
    import model
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    decoder = decoders.from_config(config)
    parts = architectures.of(decoder)
    plan = parts.plan(devices, decoder, job.micro_batch)
    mesh = Mesh(np.array(_described(generation, devices)).reshape(plan), meshes.AXES)
    how = model.How(
        scale=job.lora.alpha / job.lora.rank,
        dropout=job.lora.dropout,
        attention="splash",
        mesh=mesh if devices > 1 else None,
        head_axis="tp" if plan.tp > 1 else None,
        remat=bool(job.activation_checkpointing),
    )
    frozen = parts.shapes(decoder, mesh, job.quantisation if job.method == "qlora" else "", how.dtype)
    meshes.check(frozen, mesh)
    change, begun = learn.rule(job), _begun(decoder, job, mesh)

    def loss_sum(trained: Any, frozen: Any, batch: model.Batch, key: Any) -> tuple[Any, Any]:
        return parts.loss_sum(decoder, how, frozen, trained, batch, key)

    whole = NamedSharding(mesh, PartitionSpec())
    rows = jax.ShapeDtypeStruct(
        (job.grad_accum, job.micro_batch, job.sequence_length),
        jnp.int32,
        sharding=NamedSharding(mesh, PartitionSpec(None, how.batch_axes)),
    )
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=whole)
    number = jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=whole)
    step = learn.stepper(loss_sum, change, begun, draws=job.lora.dropout > 0)
    lowered = step.lower(begun, frozen, model.Batch(rows, rows, rows, rows), rate, number)
    return _compiled(lowered, str(plan))


def _begun(decoder: Any, job: Any, mesh: Any) -> Any:
    """The first state without values: adapters and what the optimizer remembers of them."""
    import adapters
    import jax
    import jax.numpy as jnp
    import learn
    import mesh as meshes
    from jax.sharding import NamedSharding, PartitionSpec

    def put(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        side = getattr(path[-1], "key", "") if path else ""
        adapter = side in ("a", "b") and len(leaf.shape) == 3
        cut = meshes.adapter_cut(mesh, side, leaf.shape) if adapter else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, cut))

    trained = {}
    for name in adapters.names(decoder, job.lora.targets):
        inputs, outputs = decoder.matrices[name]
        count = adapters.blocks(decoder, name)
        halves = {"a": (count, inputs, job.lora.rank), "b": (count, job.lora.rank, outputs)}
        trained[name] = {side: jax.ShapeDtypeStruct(shape, jnp.float32) for side, shape in halves.items()}
    memory = jax.eval_shape(learn.rule(job).init, trained)
    return jax.tree_util.tree_map_with_path(put, learn.State(trained, memory))


def _described(generation: str, devices: int) -> list[Any]:
    from failures import BadJob
    from jax.experimental import topologies

    shapes = TOPOLOGIES.get(generation, ())
    shape = next((shape for count, shape in shapes if devices <= count), None)
    if shape is None:
        most = f"at most {shapes[-1][0]} devices of {generation}" if shapes else f"one of {', '.join(TOPOLOGIES)}"
        raise BadJob(f"steps are compiled for {most}, not {devices} of {generation}")
    joined = CHIP_CONFIGURATION.get(generation, {})
    described = topologies.get_topology_desc(platform="tpu", topology_name=f"{generation}:{shape}", **joined)
    return list(described.devices[:devices])


def _compiled(lowered: Any, plan: str) -> Compiled:
    import jax

    written = lowered.as_text()
    try:
        made = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed, available = overflow(str(error))
        if not needed:
            raise
        return Compiled(Sizes(fits=False, peak=needed, available=available), plan, written, "")
    told = made.memory_analysis()
    output = told.output_size_in_bytes - told.alias_size_in_bytes
    parts = (told.argument_size_in_bytes, told.temp_size_in_bytes, output, told.generated_code_size_in_bytes)
    return Compiled(Sizes(True, sum(parts), *parts), plan, written, made.as_text())


def overflow(message: str) -> tuple[int, int]:
    """`(needed, available)` bytes from the compiler's out-of-memory message; zeros when it is about something else."""
    for pattern in _OVERFLOWS:
        if found := re.search(pattern, message):
            used, used_unit, limit, limit_unit = found.groups()
            return round(float(used) * _UNITS[used_unit]), round(float(limit) * _UNITS[limit_unit])
    return 0, 0


def job_of(document: dict[str, Any]) -> Any:
    """A job of the given keys, whose files are nowhere."""
    from job import Checkpoint, Data, Job, Lora

    given = {**document, "lora": Lora(**document.get("lora", {}))}
    return Job(model="", data=Data(""), checkpoint=Checkpoint(""), output="", **given)


def main() -> None:
    """Read the document, compile, print."""
    os.environ.update(SURROUNDINGS)
    from importlib.metadata import version

    from failures import BadJob

    document = json.load(sys.stdin)
    try:
        made = compile_step(document["config"], job_of(document["job"]), document["generation"], document["devices"])
        answer = {**made.sizes._asdict(), "plan": made.plan}
    except BadJob as error:
        answer = {"unsupported": str(error)}
    versions = {name: version(name) for name in ("jax", "jaxlib", "libtpu")}
    print(json.dumps({**answer, "versions": versions}))


if __name__ == "__main__":
    main()
