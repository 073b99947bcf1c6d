"""A job on machines that are taken away: life after life until it is done.

A machine lives for an exponential time. It is set up, trains on from the last save, saves when our trainer does, and is
taken away or done; what was trained since the last save is lost. After `MOST_LIVES` the rest takes what is expected
(Daly's formula, `estimate/spot.py`): by then chance has averaged out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate import spot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.quote.sampling.points import Lattice

MOST_LIVES = 8


class Lives(NamedTuple):
    """How long the machines of each sampled run live, in means of their kind: a dimension for each machine."""

    slices: Sequence[float]
    lines: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, lattice: Lattice, first_dimension: int) -> Lives:
        """Those of a lattice."""
        lines = [lattice.line(first_dimension + number) for number in range(MOST_LIVES)]
        return cls(lattice.exponential(), lines)


class Fate(NamedTuple):
    """What one sampled run meets, in seconds."""

    work: float  # seconds of steps that it has to do
    save: float  # what a save takes
    interval: float  # trained between two; a run that is shorter never saves
    setup: float  # of the first machine
    restart: float  # of a later one
    between: float  # mean time between interruptions


def lived(fate: Fate, lives: Lives, point: int) -> tuple[float, float]:
    """(seconds that machines run, interruptions) until the work is done."""
    work, save, interval, ready, restart, between = fate
    slices, lines = lives
    if work < interval:
        save, interval = 0.0, work + 1.0
    count = len(slices)
    ran = done = 0.0
    lost = 0
    for generator, shift in lines:
        life = between * slices[(point * generator + shift) % count]
        left = work - done
        needed = ready + left + save * int(left / interval)
        if life >= needed:
            return ran + needed, lost
        ran += life
        if life > ready + interval:
            done += interval * int((life - ready) / (interval + save))
        ready = restart
        lost += 1
    left = max(work - done, 1.0)
    rest = spot.billed_s(left, min(interval, left), save, restart, between)
    return ran + rest, lost + rest / between
