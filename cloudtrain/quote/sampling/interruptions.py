"""A job on machines that are taken away: life after life until it is done.

A machine lives for an exponential time. It is set up, trains on from the last save, saves when our trainer does, and is
taken away or done; what was trained since the last save is lost. The first lives have a dimension of the lattice each,
later ones a fixed sequence that looks random. Who is not done after `MOST_LIVES` has long odds from save to save: how
long each takes is then nearly exponential (Renyi's limit of geometric sums), with the mean of Daly's formula
(`estimate/spot.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate import spot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.quote.sampling.points import Lattice

DIMENSIONS = 8
MOST_LIVES = 200
MOST_STRETCHES = 32  # from save to save; the mean of so many is near enough


class Lives(NamedTuple):
    """How long the machines of each sampled run live, in means of their kind: a dimension for each machine."""

    slices: Sequence[float]
    lines: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, lattice: Lattice, first_dimension: int) -> Lives:
        """Those of a lattice."""
        lines = [lattice.line(first_dimension + number) for number in range(DIMENSIONS)]
        return cls(lattice.exponential(), lines)


# What one sampled run meets, in seconds: the steps that it has to do, what a save takes, what is trained between two (a
# run that is shorter never saves), the set-up of the first machine and of a later one, the mean time between
# interruptions. A plain tuple, because a quote makes thousands.
Fate = tuple[float, float, float, float, float, float]


def lived(fate: Fate, lives: Lives, point: int) -> tuple[float, float]:
    """(seconds that machines run, interruptions) until the work is done."""
    work, save, interval, ready, restart, between = fate
    slices, lines = lives
    if work < interval:
        save, interval = 0.0, work + 1.0
        fate = (work, save, interval, ready, restart, between)
    count = len(slices)
    ran = done = 0.0
    lost, chance = 0, point
    for number in range(MOST_LIVES):
        if number < DIMENSIONS:
            generator, shift = lines[number]
            place = point * generator + shift
        else:
            chance = (chance * 1103515245 + 12345) & 0x7FFFFFFF  # the generator in the C standard's example
            place = chance >> 8
        life = between * slices[place % count]
        left = work - done
        needed = ready + left + save * int(left / interval)
        if life >= needed:
            return ran + needed, lost
        ran += life
        if life > ready + interval:
            done += interval * int((life - ready) / (interval + save))
        ready = restart
        lost += 1
    return _long_odds(fate, lives, (ran, lost, work - done, chance))


def _long_odds(fate: Fate, lives: Lives, reached: tuple[float, int, float, int]) -> tuple[float, float]:
    """The end of a run from (seconds run, interruptions, seconds left to do, chance) on."""
    _, save, interval, _, restart, between = fate
    ran, lost, left, chance = reached
    whole = int(left / interval)
    means = [spot.stretch_s(left - whole * interval, restart, between)]
    if whole:
        some = min(whole, MOST_STRETCHES)
        means += [spot.stretch_s(interval + save, restart, between) * whole / some] * some
    rest = 0.0
    for mean in means:
        chance = (chance * 1103515245 + 12345) & 0x7FFFFFFF
        rest += mean * lives.slices[(chance >> 8) % len(lives.slices)]
    return ran + rest, lost + rest / between
