"""From live tensor bytes to the memory a device must have: runtime, margins, and what is usable of the nominal size."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cloudtrain.estimate import hardware
from cloudtrain.estimate.hardware import Hardware
from cloudtrain.estimate.options import Options
from cloudtrain.units import GIB

Verdict = Literal["fits", "tight", "no"]

FITS_UP_TO = 0.92  # of the usable memory; the rest is for what no formula sees


class Margin(NamedTuple):
    """Needed = live x `factor` + `runtime_bytes` (+ `collective_bytes` when several devices work together)."""

    factor: float
    runtime_bytes: float
    collective_bytes: float
    reason: str


# estimation.md section 7, "Device budget", and 3.2/3.3. The runtime of a GPU is the upper end of the range seen.
_GPU = Margin(1.06, 1.4 * GIB, 1.5 * GIB, "x 1.06 for the allocator (fixed or packed lengths) + 1.4 GiB runtime")
MARGINS: dict[str, Margin] = {
    "rocm": _GPU,
    "xpu": _GPU,
    "cuda": _GPU,
    "neuron": _GPU._replace(reason="as a GPU: x 1.06 + 1.4 GiB; nobody has published a margin for Trainium"),
    "gaudi": _GPU._replace(factor=1.4, reason="x 1.4 for Gaudi's lazy graphs (one published run) + 1.4 GiB runtime"),
    "torch-cpu": Margin(1.06, 0.70 * GIB, 0.0, "x 1.06 + 0.70 GiB of imports and threads (eight measured runs)"),
    "mlx": Margin(1.06, 0.5 * GIB, 0.0, "x 1.06 + 0.5 GiB runtime (not measured)"),
    "tpu": Margin(1.1, 0.0, 0.0, "x 1.1 for the formula, up to 17.5 % below the compiler's figure; --verify asks it"),
    "none": _GPU,
}

# Usable bytes of one device from the TPU compiler's out-of-memory messages (estimation.md 3.5).
TPU_USABLE_BYTES: dict[str, int] = {
    "tpu-v4": round(30.75 * GIB),
    "tpu-v5e": round(15.75 * GIB),
    "tpu-v6e": round(31.25 * GIB),
    "tpu-v5p": round(95.74 * GIB),
    "tpu7x": round(94.75 * GIB),
}
TPU_USABLE_SHARE = 0.97  # for TPUs whose compiler was not asked: the least share seen above is 0.977
APPLE_WIRED_SHARE = 0.75  # macOS lets a GPU wire about this much of the RAM (MEMORY)
CPU_SYSTEM_BYTES = GIB // 2  # operating system and our supervisor (INFERENCE)


def margin(options: Options) -> Margin:
    """The margin of the chip in `options`, or of its back end when no chip is named (a GPU for torch)."""
    if options.chip:
        return MARGINS[hardware.find(options.chip).backend]
    return MARGINS[{"torch": "rocm", "tpu": "tpu", "mlx": "mlx"}[options.estimator]]


def required_bytes(live_bytes: int, options: Options, *, proven: bool = False) -> int:
    """What a device must offer for `live_bytes` of tensors: live x factor + runtime + collectives.

    `proven`: they are what --verify found. A TPU's compiler has then counted everything, and nothing is added.
    """
    if proven and options.estimator == "tpu":
        return live_bytes
    kind = margin(options)
    collectives = kind.collective_bytes if options.devices > 1 else 0.0
    return round(live_bytes * kind.factor + kind.runtime_bytes + collectives)


def usable_bytes(chip: Hardware, memory_bytes: int) -> int:
    """What training may use of `memory_bytes`, the nominal memory of one chip (of the host, for a CPU), per device."""
    per_device = memory_bytes // chip.devices_per_chip
    if chip.backend == "tpu":
        return TPU_USABLE_BYTES.get(chip.key, round(per_device * TPU_USABLE_SHARE))
    if chip.backend == "mlx":
        return round(per_device * APPLE_WIRED_SHARE)
    if chip.backend == "torch-cpu":
        return max(memory_bytes - CPU_SYSTEM_BYTES, 0)
    return per_device


def verdict(required: int, usable: int) -> Verdict:
    """`fits` up to 0.92 of the usable bytes, `tight` up to all of them, else `no`."""
    if required <= FITS_UP_TO * usable:
        return "fits"
    return "tight" if required <= usable else "no"
