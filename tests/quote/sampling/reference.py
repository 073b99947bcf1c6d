"""The sampled clock by other means: random draws, and machines that are taken away event by event."""

from __future__ import annotations

import math
from random import Random
from typing import NamedTuple

from cloudtrain.offer import Range
from cloudtrain.quote.sampling import times
from cloudtrain.quote.sampling.draws import Stretches
from cloudtrain.quote.sampling.points import Z10

HOPELESS_S = 3e7  # a year: nobody waits for such a run
ODDS = 30.0  # a machine lives so many times as long as usual once in 1e13


class Reference(NamedTuple):
    """P10, P50, P90 of wall and running seconds, and the share that ends within what was asked.

    `errors` are how far off each of the six quantiles may be by chance, two standard errors, in seconds.
    """

    wall: Range
    running: Range
    ended: float
    errors: tuple[float, ...]


def drawn(figure: Range, z: float) -> float:
    """A figure at a point of the standard normal distribution, on either side of the middle."""
    low, likely, high = figure
    if low <= 0 or low == high:
        return max(0.0, likely + z * ((likely - low) if z < 0 else (high - likely)) / Z10)
    return likely * math.exp(z * math.log(likely / low if z < 0 else high / likely) / Z10)


def once(stretches: Stretches, random: Random) -> tuple[float, float]:
    """(wall, running) seconds of one run."""

    def some(figure: Range) -> float:
        return drawn(figure, random.gauss(0, 1))

    setup = sum(some(part.seconds) for part in stretches.setup)
    work = sum(some(part.seconds) for part in stretches.steps)
    z = random.gauss(0, 1)  # one disk
    write, result = drawn(stretches.write, z), drawn(stretches.result.seconds, z)
    first = some(stretches.wait.first)
    if stretches.between is None:
        running = setup + work + result + times.saves(work, write, stretches.assumed_s) * write
        return running + first, running
    restart = sum(some(part.seconds) for part in stretches.restart) if stretches.restart != stretches.setup else setup
    between, again = some(stretches.between.between_s), some(stretches.wait.again)
    every, left = times.interval_s(write), work + result
    saves = left >= every
    if restart + min(left, every) > ODDS * between and setup + min(left, every) > ODDS * between:
        return math.inf, math.inf
    running, waited, ready = 0.0, first, setup
    while True:
        life = random.expovariate(1 / between)
        needed = ready + left + (write * int(left / every) if saves else 0.0)
        if life >= needed:
            return running + needed + waited, running + needed
        running, waited = running + life, waited + again
        if running > HOPELESS_S:
            return math.inf, math.inf
        if saves and life > ready:
            left -= every * int((life - ready) / (every + write))
        ready = restart


def reference(stretches: Stretches, runs: int, ceiling_s: float, seed: int = 1) -> Reference:
    """So many runs."""
    random = Random(seed)
    wall, running = zip(*(once(stretches, random) for _ in range(runs)), strict=True)
    ended = sum(each <= ceiling_s for each in wall) / runs
    ordered = sorted(wall), sorted(running)
    errors = tuple(by_chance(times, share) for times in ordered for share in (0.1, 0.5, 0.9))
    return Reference(quantiles(ordered[0]), quantiles(ordered[1]), ended, errors)


def by_chance(ordered: list[float], share: float) -> float:
    """Two standard errors of a quantile of so many random values: the count below it is binomial."""
    beside = round(math.sqrt(len(ordered) * share * (1 - share)))
    place = int(share * len(ordered))
    return ordered[place + beside] - ordered[place - beside]


def quantiles(ordered: list[float]) -> Range:
    """Those of a long list."""
    return Range(*(ordered[int(share * len(ordered))] for share in (0.1, 0.5, 0.9)))
