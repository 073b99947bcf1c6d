"""What a job goes through on a kind of machine, and samples of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate.waits import NOTHING
from cloudtrain.offer import Range
from cloudtrain.quote.sampling import points, times
from cloudtrain.quote.sampling.interruptions import Lives, lived
from cloudtrain.quote.sampling.parts import TimePart
from cloudtrain.units import SECONDS_PER_HOUR, hours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloudtrain.estimate.spot import Prior
    from cloudtrain.estimate.waits import Wait
    from cloudtrain.quote.sampling.points import Lattice

# The first dimension of each kind of part, those that matter most first: a lattice is better there.
STEPS, BETWEEN, FIRST_WAIT, WAIT_AGAIN, WRITE, SETUP, LIVES = 0, 3, 4, 5, 6, 7, 16
SMALL = 1 / 100  # a part that spreads less than this share of what spreads most has its middle everywhere
SMALL_COARSE = 1 / 40


class Stretches(NamedTuple):
    """What a job goes through: its parts as ranges of seconds (P10, P50, P90)."""

    setup: tuple[TimePart, ...]
    restart: tuple[TimePart, ...]  # the set-up of a machine that takes over
    steps: tuple[TimePart, ...]
    write: Range  # of one checkpoint
    assumed_s: float  # what our trainer takes one for before the first
    result: TimePart
    wait: Wait
    between: Prior | None  # of interruptions; None where there are none
    minimum_s: float  # that are billed at least
    ceiling_h: float | None = None  # on the wall time
    session_h: float | None = None  # on what one machine runs

    def running(self) -> Iterable[TimePart]:
        """What a machine runs for that is not taken away, periodic saves by what they add to a usual run."""
        usual = sum(part.seconds.likely for part in self.steps)
        count = times.saves(usual, self.write.likely, self.assumed_s)
        saved = Range(*(count * each for each in self.write))
        return (*self.setup, *self.steps, self.result, TimePart("checkpoints", saved, ""))

    def usual_s(self) -> float:
        """The middles of what runs: enough to compare by."""
        return sum(part.seconds.likely for part in self.running())

    def slowest_s(self) -> float:
        """The slow ends of what runs and is waited for, all in one run."""
        return self.wait.first.high + sum(part.seconds.high for part in self.running())


class Drawn(NamedTuple):
    """Samples of a run, point by point, in seconds."""

    running: Sequence[float]  # from the boot of the first machine, without waiting
    steady: Sequence[float]  # the same of a run that is not interrupted
    saved: Sequence[float]  # of it in periodic checkpoints; empty where there are none
    first: Sequence[float]  # waited for the first machine
    later: Sequence[float]  # waited for later ones; empty where nothing is interrupted
    wall: Sequence[float]  # all together


def draw(stretches: Stretches, lattice: Lattice) -> Drawn:
    """The samples of a job's parts."""
    count, least = lattice.count, hardly(stretches, lattice)
    work = lattice.total(STEPS, varying(stretches.steps, least))
    setup = lattice.total(SETUP, varying(stretches.setup, least))
    result = lattice.total(WRITE, varying((stretches.result,), least))
    (first_wait,) = varying((TimePart("", stretches.wait.first, ""),), least)
    first = lattice.samples(FIRST_WAIT, first_wait)
    saved = saves(stretches, lattice, work)
    steady = points.added(count, work, setup, result, saved)
    if stretches.between is None:
        wall = points.added(count, steady, first) if first_wait.high > 0 else steady
        return Drawn(steady, steady, saved, first, (), wall)
    restart = setup
    if stretches.restart != stretches.setup:
        restart = lattice.total(SETUP, varying(stretches.restart, least))
    writes = lattice.samples(WRITE, stretches.write)
    between = lattice.samples(BETWEEN, stretches.between.between_s)
    every_s = map(times.interval_s, writes)
    fates = zip(points.added(count, work, result), writes, every_s, setup, restart, between, strict=True)
    lives = Lives.of(lattice, LIVES)
    runs = [lived(fate, lives, point) for point, fate in enumerate(fates)]
    running = [ran for ran, _ in runs]
    again = lattice.samples(WAIT_AGAIN, stretches.wait.again)
    later = [lost * wait for (_, lost), wait in zip(runs, again, strict=True)]
    return Drawn(running, steady, saved, first, later, points.added(count, running, first, later))


def hardly(stretches: Stretches, lattice: Lattice) -> float:
    """Seconds that a part may spread and count as one that does not vary, beside what spreads most."""
    if stretches.between is not None:
        return 0.0  # a set-up may be repeated many times
    small = SMALL_COARSE if lattice is points.COARSE else SMALL
    return small * max(part.seconds.high - part.seconds.low for part in (*stretches.steps, *stretches.setup))


def varying(parts: Sequence[TimePart], least: float) -> tuple[Range, ...]:
    """The seconds of parts; one that spreads less than `least` has its middle everywhere."""
    return tuple(
        Range(likely, likely, likely) if high - low < least else Range(low, likely, high)
        for low, likely, high in (part.seconds for part in parts)
    )


def named_samples(stretches: Stretches, drawn: Drawn, lattice: Lattice) -> Iterable[tuple[TimePart, Sequence[float]]]:
    """Each part with its samples; what interruptions cost is what a run has more than a steady one."""
    least = hardly(stretches, lattice)
    for first, group in ((SETUP, stretches.setup), (STEPS, stretches.steps)):
        for index, (part, figure) in enumerate(zip(group, varying(group, least), strict=True)):
            yield part, lattice.samples(first + index, figure)
    if drawn.saved:
        interval = hours(times.interval_s(stretches.write.likely))
        yield TimePart("checkpoints", stretches.write, f"one in {interval} of steps"), drawn.saved
    yield stretches.result, lattice.total(WRITE, varying((stretches.result,), least))
    if stretches.between is not None:
        lost = [max(0.0, ran - steady) for ran, steady in zip(drawn.running, drawn.steady, strict=True)]
        yield TimePart("interruptions", NOTHING, f"set up and trained again; {stretches.between.source}"), lost


def saves(stretches: Stretches, lattice: Lattice, work: Sequence[float]) -> Sequence[float]:
    """Samples of the seconds that periodic checkpoints take in all; empty where none is ever made."""
    assumed, slowest = stretches.assumed_s, stretches.write.high
    first = times.interval_s(assumed)
    if max(work) < first:
        return ()
    if slowest < SMALL * times.interval_s(slowest):  # an adapter's: hardly anything beside the steps
        usual = sum(part.seconds.likely for part in stretches.steps)
        write = stretches.write.likely
        return (times.saves(usual, write, assumed) * write,) * lattice.count
    writes = lattice.samples(WRITE, stretches.write)
    every_s = map(times.interval_s, writes)
    return [
        (1 + int((worked - first) / interval)) * write if worked >= first else 0.0
        for worked, write, interval in zip(work, writes, every_s, strict=True)
    ]


def ended(drawn: Drawn, stretches: Stretches) -> float:
    """The share of the samples that end within the ceiling and the session."""
    ceiling, session = (
        math.inf if limit is None else limit * SECONDS_PER_HOUR for limit in (stretches.ceiling_h, stretches.session_h)
    )
    if max(drawn.wall) < min(ceiling, session):
        return 1.0
    both = zip(drawn.wall, drawn.running, strict=True)
    return sum(wall <= ceiling and running <= session and wall < math.inf for wall, running in both) / len(drawn.wall)
