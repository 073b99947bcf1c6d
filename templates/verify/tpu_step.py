"""Proves what one training step needs on a TPU: compiles it for the chip and prints the compiler's figure.

`python tpu_step.py < document.json`. Needs no TPU: libtpu holds the compiler, and arguments are shapes without memory.
The document holds `model` (sizes), `options`, `generation` (v5e, ...) and `devices`; the answer is one JSON object on
standard output, with `unsupported` and a message in it where the step cannot be compiled.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from typing import Any

# JAX itself stays on the CPU and libtpu must not look for a machine: all of this is read when jax is imported.
SURROUNDINGS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v6e-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# (devices, topology) from small to large. v5e and v6e lie on a plane, the others in space; a TPU7x chip is two devices.
_PLANE = ((4, "2x2x1"), (16, "4x4x1"), (64, "8x8x1"), (256, "16x16x1"))
_SPACE = ((4, "2x2x1"), (8, "2x2x2"), (16, "2x2x4"), (32, "2x4x4"), (64, "4x4x4"))
TOPOLOGIES = {
    "v4": _SPACE,
    "v5e": _PLANE,
    "v5p": _SPACE,
    "v6e": _PLANE,
    "tpu7x": tuple((2 * devices, shape) for devices, shape in _SPACE),
}
# A v4 chip is described as two devices unless its cores are joined, as they are in use.
CHIP_CONFIGURATION = {"v4": {"chip_config_name": "megacore"}}
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
_SIZE = r"([0-9.]+)([KMG])"
_OVERFLOWS = (rf"Used {_SIZE} of {_SIZE} hbm", rf"\({_SIZE}\) exceeds available HBM \({_SIZE}\)")


class UnsupportedError(Exception):
    """Why this step cannot be compiled here, as a message."""


def main() -> None:
    """Read the document, compile, print."""
    document = json.load(sys.stdin)
    os.environ.update(SURROUNDINGS)
    try:
        answer = prove(document)
    except UnsupportedError as error:
        answer = {"unsupported": str(error)}
    print(json.dumps(answer))


def prove(document: dict[str, Any]) -> dict[str, Any]:
    """HBM bytes of each device, or the compiler's verdict that they are too many."""
    generation = document["generation"]
    name = topology(generation, document["devices"])
    import jax
    import jaxlib
    import tpu_model
    from jax.experimental import topologies

    joined = CHIP_CONFIGURATION.get(generation, {})
    described = topologies.get_topology_desc(platform="tpu", topology_name=name, **joined)
    devices = described.devices[: document["devices"]]
    try:
        step = tpu_model.lowered_step(document["model"], document["options"], devices)
    except tpu_model.ShapeError as error:
        raise UnsupportedError(str(error)) from error
    answer: dict[str, Any] = {"versions": {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "libtpu": libtpu()}}
    try:
        sizes = step.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        needed, available = overflow(str(error))
        if not needed:
            raise
        return {**answer, "fits": False, "peak_bytes": needed, "available_bytes": available}
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    peak = held + sizes.temp_size_in_bytes + sizes.generated_code_size_in_bytes
    return {**answer, "fits": True, "peak_bytes": peak, "available_bytes": None}


def topology(generation: str, devices: int) -> str:
    """The smallest described slice that has so many devices."""
    for count, shape in TOPOLOGIES[generation]:
        if devices <= count:
            return f"{generation}:{shape}"
    largest = TOPOLOGIES[generation][-1][0]
    raise UnsupportedError(f"steps are compiled for at most {largest} devices of {generation}, not {devices}")


def overflow(message: str) -> tuple[int, int]:
    """`(needed, available)` bytes from the compiler's out-of-memory message; zeros when it is about something else."""
    for pattern in _OVERFLOWS:
        if found := re.search(pattern, message):
            used, used_unit, limit, limit_unit = found.groups()
            return round(float(used) * _UNITS[used_unit]), round(float(limit) * _UNITS[limit_unit])
    return 0, 0


def libtpu() -> str:
    """The compiler's version."""
    from importlib.metadata import PackageNotFoundError, version

    with contextlib.suppress(PackageNotFoundError):
        return version("libtpu")
    return "unknown"


if __name__ == "__main__":
    main()
