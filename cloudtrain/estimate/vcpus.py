"""Whether a vCPU is a core or one of a core's two threads: by provider and family of machine, in vcpus.csv.

The accelerator table's rates of processors are a core's. Two threads of one core share its units for products, so a
thread is half of it and a little more, as what is no product overlaps.
"""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from cloudtrain.offer import Range

_FILE = Path(__file__).with_name("vcpus.csv")
_CORE = Range(1.0, 1.0, 1.0)
_THREAD = Range(0.5, 0.55, 0.65)  # INFERENCE: two threads do 1 to 1.3 times the work of one
_UNKNOWN = Range(0.5, 0.7, 1.0)


class Share(NamedTuple):
    """The part of a core's rate that one vCPU has, and where that comes from."""

    cores: Range
    source: str


def share(provider: str, machine: str, threads_per_core: int | None = None) -> Share:
    """The share of a provider's machine, such as `c3-highmem-88`; `threads_per_core` where the machine says it."""
    if threads_per_core is not None:
        if threads_per_core < 2:
            return Share(_CORE, "a vCPU is a core, as this machine says")
        return Share(_THREAD, f"{threads_per_core} vCPUs share a core, as this machine says")
    found = _table().get((provider, family(machine)))
    if found is None:
        return Share(_UNKNOWN, "not known whether a vCPU is a core or a thread: 0.5 to 1 core")
    cores, source = found
    return Share(_CORE if cores == 1 else _THREAD, f"a vCPU is a {'core' if cores == 1 else 'thread'} ({source})")


def family(machine: str) -> str:
    """What a machine's name begins with: `c7a` of c7a.48xlarge, `c3d` of c3d-highmem-8, `r8i-flex` of AWS's."""
    if "." in machine:
        return machine.partition(".")[0]
    return machine.partition(" ")[0].partition("-")[0]


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str, str], tuple[float, str]]:
    """(provider, family) -> cores a vCPU, and the source with how sure it is."""
    with open(_FILE, encoding="utf-8", newline="") as stream:
        return {
            (row["provider"], name): (float(row["cores"]), f"{row['confidence']}: {row['source']}")
            for row in csv.DictReader(stream)
            for name in row["family"].split("|")
        }
