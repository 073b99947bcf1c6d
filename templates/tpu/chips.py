"""JAX's view of the accelerators that this back end's description names: which chips there are, and their memory."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import machine
from failures import NoAccelerator, one_line
from job import Job

BACK_END: dict[str, Any] = json.loads(Path(__file__).with_name("backend.json").read_text(encoding="utf-8"))
ACCELERATORS: dict[str, dict[str, Any]] = BACK_END["accelerators"]
PLATFORMS = {"tpu": "tpu", "cpu": "cpu"}  # as JAX names them
# What JAX calls the chips of the accelerator table.
KINDS = {
    "tpu-v2": ("TPU v2",),
    "tpu-v3": ("TPU v3",),
    "tpu-v4": ("TPU v4",),
    "tpu-v5e": ("TPU v5 lite", "TPU v5e"),
    "tpu-v5p": ("TPU v5", "TPU v5p"),
    "tpu-v6e": ("TPU v6 lite", "TPU v6e"),
    "tpu7x": ("TPU7x", "TPU7"),
}
CACHE = "JAX_COMPILATION_CACHE_DIR"  # JAX reads it itself
_HELD = ("already in use", "busy", "lockfile")  # what libtpu says when another process has the chips


def see(job: Job) -> dict[str, Any]:
    """What the `start` event says of the devices, of all hosts. Raises NoAccelerator when others were rented."""
    os.environ.setdefault("NPROC", str(machine.usable_cores()))  # of a processor; else it takes all that the host has
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "2")
    import hosts

    here = hosts.join().here
    found = devices(job.accelerator)
    kind, count = found[0].device_kind, len(found)
    check(job, kind, count)
    if job.accelerator != "cpu":
        own = [each for each in found if each.process_index == here.number]
        machine.count_memory_by(lambda: max(peak_bytes(each) for each in own))
    several = {} if here.hosts == 1 else {"host": here.number, "hosts": here.hosts}
    return {"devices": {"kind": kind, "count": count}, **several}


def devices(accelerator: str) -> list[Any]:
    """JAX's devices of the accelerator. Raises NoAccelerator, with what JAX says, when there are none."""
    import jax

    try:
        return list(jax.devices(PLATFORMS[accelerator]))
    except RuntimeError as error:
        said = one_line(error)
        if any(phrase in said.lower() for phrase in _HELD):
            raise NoAccelerator(f"another process holds the {accelerator} of this machine: {said}") from None
        raise NoAccelerator(f"JAX {jax.__version__} sees no {accelerator} on this machine: {said}") from None


def check(job: Job, kind: str, count: int) -> None:
    """Raise NoAccelerator when the job was planned for other chips, or another number of them."""
    if job.accelerator == "cpu":  # itself, or in place of others
        return
    if job.chip is not None and kind not in KINDS.get(job.chip, (kind,)):
        raise NoAccelerator(f"this machine has {kind}, but {job.chip} was rented")
    if job.devices is not None and count != job.devices:
        raise NoAccelerator(f"this machine has {count} {kind} devices, but {job.devices} were rented")


def peak_bytes(device: Any) -> int:
    """The highest memory of one device so far; 0 where it does not say."""
    return int((device.memory_stats() or {}).get("peak_bytes_in_use", 0))


def in_bf16(job: Job) -> bool:
    """Whether the job computes in bf16: as it says, else on accelerators; in float32 on a processor."""
    return job.compute == "bf16" or (job.compute in ("auto", "measured") and job.accelerator != "cpu")


def keep_compiled(job: Job) -> None:
    """Keep what is compiled beside the checkpoints, or where `CACHE` says: a run that starts again finds it there."""
    import jax

    if not os.environ.get(CACHE):
        jax.config.update("jax_compilation_cache_dir", str(Path(job.checkpoint.folder).parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
