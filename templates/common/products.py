"""Which number type makes matrix products faster: a short race on this machine, and what follows from its rates.

No PyTorch in here: whoever races hands in how a product is made, and a test hands in a clock that it moves itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

TYPES = ("bf16", "fp32")
REPEATS = 5  # timed ones of each shape and type; the best counts, because others on the machine only make it slower
LIMIT_S = 1.5  # of a whole race, warming up included
LARGEST = 4096  # longer sides are cut: 64 MiB of float32, and the rate no longer depends on them
MOST_OPERATIONS = 4e9  # of one product: about 30 ms on two cores
# Float32 doubles what everything but the products moves, so a rate that is only a little higher is no gain.
WORTH_IT = 1.1

Make = Callable[[str, "Shape"], Callable[[], object]]  # number type, shape -> what makes one product


class Shape(NamedTuple):
    """`rows` tokens through a layer of `inputs` x `outputs` weights."""

    rows: int
    inputs: int
    outputs: int

    @property
    def operations(self) -> float:
        """Of one product: a multiplication and an addition each."""
        return 2.0 * self.rows * self.inputs * self.outputs


def shapes(tokens: int, hidden: int, intermediate: int) -> list[Shape]:
    """A layer's products for a micro-batch of so many tokens: into, out of and beside the feed-forward part."""
    hidden, intermediate = min(max(1, hidden), LARGEST), min(max(1, intermediate), LARGEST)
    found = []
    for inputs, outputs in ((hidden, intermediate), (intermediate, hidden), (hidden, hidden)):
        most = int(MOST_OPERATIONS / (2 * inputs * outputs))
        found.append(Shape(max(1, min(tokens, most)), inputs, outputs))
    return found


def race(
    layers: Sequence[Shape],
    make: Make,
    clock: Callable[[], float] = time.perf_counter,
    repeats: int = REPEATS,
    limit_s: float = LIMIT_S,
) -> dict[str, float]:
    """Operations per second of each number type over all shapes, by the best of some repeats.

    The types take turns, so that a neighbour slows both. Every shape is timed once, however late it is.
    """
    began = clock()
    best = dict.fromkeys(TYPES, 0.0)
    for shape in layers:
        runs = {name: make(name, shape) for name in TYPES}
        for run in runs.values():
            run()  # the first one chooses and compiles its kernel
        times = {name: [_timed(run, clock)] for name, run in runs.items()}
        while len(times[TYPES[0]]) < repeats and clock() - began < limit_s:
            for name, run in runs.items():
                times[name].append(_timed(run, clock))
        for name, found in times.items():
            best[name] += min(found)
    operations = sum(shape.operations for shape in layers)
    return {name: operations / max(seconds, 1e-9) for name, seconds in best.items()}


def faster(rates: Mapping[str, float]) -> str:
    """The number type to compute in by these rates: float32 where it gains enough, else bf16."""
    return "fp32" if rates["fp32"] >= WORTH_IT * rates["bf16"] else "bf16"


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began
