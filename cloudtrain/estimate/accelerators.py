"""The accelerators and processors cloudtrain knows: memory, peak speed, and which training back end drives them."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from cloudtrain.units import GIB

_FILE = Path(__file__).parent / "accelerators.csv"

Backend = Literal["torch-cpu", "rocm", "xpu", "tpu", "neuron", "gaudi", "mlx", "cuda", "none"]


class Hardware(NamedTuple):
    """One kind of chip, or of processor core.

    `memory_bytes` is per chip; None where it is the host's. `peak_flops` (bfloat16, dense; of a processor in the type
    that is the faster one there) is per `peak_unit`: `per chip` or `per vCPU`, which is a core; None means nobody has
    measured it, and hours are unknown. `spread` is by which factor it may be off. `devices_per_chip` is how many
    devices a framework sees in one chip. `trains` is false for chips made for serving, with the reason in `why_not`.
    `formerly` is the key under which older records and wider names have a processor of this class.
    """

    key: str
    vendor: str
    name: str
    aliases: tuple[str, ...]
    memory_bytes: int | None
    bandwidth_bytes_per_s: int | None
    peak_flops: float | None
    peak_flops_fp8: float | None
    peak_unit: str
    peak_note: str
    devices_per_chip: int
    backend: Backend
    trains: bool
    why_not: str
    confidence: str
    source: str
    architecture: str  # what compilers call it: gfx1100; "" where nobody names the chip so
    peak_flops_fp32: float | None
    spread: float
    formerly: str

    @property
    def is_processor(self) -> bool:
        """Whether it is a kind of processor core."""
        return self.backend == "torch-cpu"

    @property
    def computes_in(self) -> str:
        """The number type that `peak_flops` is of: bf16, or fp32 for a processor that is faster in it."""
        return "fp32" if self.is_processor and self.peak_flops == self.peak_flops_fp32 else "bf16"


@lru_cache(maxsize=1)
def all_hardware() -> tuple[Hardware, ...]:
    """The table, in its order."""
    with open(_FILE, encoding="utf-8", newline="") as stream:
        return tuple(_hardware(row) for row in csv.DictReader(stream))


def exactly(text: str) -> Hardware | None:
    """The row whose key, name or alias is `text`, case ignored; keys win. None when there is none."""
    return by_name().get(text.strip().lower())


@lru_cache(maxsize=1)
def by_name() -> dict[str, Hardware]:
    """The table by key, name and alias in small letters; keys win, then the first."""
    found = {row.key: row for row in all_hardware()}
    for row in all_hardware():
        for name in (row.name, *row.aliases):
            found.setdefault(name.lower(), row)
    return found


def same_class(one: str, other: str) -> bool:
    """Whether two keys can mean one processor: a class by its instructions, and what older records call it."""
    table = by_name()
    return one == other or any(
        a in table and b in table and table[a].formerly == table[b].key for a, b in ((one, other), (other, one))
    )


def _number(text: str, scale: float) -> float | None:
    return float(text) * scale if text else None


def _whole(text: str, scale: int) -> int | None:
    return round(float(text) * scale) if text else None


def _hardware(row: dict[str, str]) -> Hardware:
    backend: Backend = row["backend"]  # type: ignore[assignment]  # a test holds the column to the defined values
    return Hardware(
        key=row["key"],
        vendor=row["vendor"],
        name=row["name"],
        aliases=tuple(alias for alias in row["aliases"].split("|") if alias),
        memory_bytes=_whole(row["mem_gib"], GIB),
        bandwidth_bytes_per_s=_whole(row["bandwidth_gb_s"], 10**9),
        peak_flops=_number(row["peak_tflops"], 1e12),
        peak_flops_fp8=_number(row["fp8_tflops"], 1e12),
        peak_unit=row["peak_unit"],
        peak_note=row["peak_note"],
        devices_per_chip=int(row["devices_per_chip"]),
        backend=backend,
        trains=row["trains"] == "yes",
        why_not=row["why_not"],
        confidence=row["confidence"],
        source=row["source"],
        architecture=row["architecture"],
        peak_flops_fp32=_number(row["fp32_tflops"] or "", 1e12),  # None in the lines that end before it
        spread=float(row["spread"] or 1),
        formerly=row["formerly"] or "",
    )
