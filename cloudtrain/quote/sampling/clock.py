"""The clock of a job on a kind of machine: how long it takes and what it is billed for, from its uncertain parts.

Hours are wall time with all waiting, billed hours what the meter runs. Each is P10, P50 and P90 of samples; the named
parts are those of runs that take about so long: in each column they add up to the hours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate.waits import NOTHING
from cloudtrain.offer import Range
from cloudtrain.quote import times
from cloudtrain.quote.parts import TimePart
from cloudtrain.quote.sampling import points
from cloudtrain.quote.sampling.interruptions import Fate, Lives, lived
from cloudtrain.units import SECONDS_PER_HOUR, hours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloudtrain.estimate.spot import Prior
    from cloudtrain.estimate.waits import Wait
    from cloudtrain.quote.sampling.points import Lattice

# The first dimension of each kind of part, those that matter most first: a lattice is better there.
STEPS, BETWEEN, FIRST_WAIT, WAIT_AGAIN, WRITE, SETUP, LIVES = 0, 3, 4, 5, 6, 7, 16
MOST_CERTAIN = 2.0  # so many times all slow ends together is within a limit: it ends in time
SMALL = 1 / 100  # a part that spreads less than this share of what spreads most has its middle everywhere
SMALL_COARSE = 1 / 40
UNSURE = 0.05  # within so much of a bar, the probability of a few points is worked out anew with more


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


class Clock:
    """One job's time on one kind of machine. Nothing is drawn before it is asked for."""

    __slots__ = ("_coarse", "_p_done", "_p_shown", "_parts", "_ranges", "_usual_h", "stretches")

    def __init__(self, stretches: Stretches) -> None:
        self.stretches = stretches
        self._coarse: Drawn | None = None
        self._p_done: float | None = None
        self._p_shown = 1.0
        self._ranges: tuple[Range, Range] | None = None  # of wall and running seconds
        self._parts: tuple[TimePart, ...] | None = None
        self._usual_h: float | None = None

    @property
    def coarse(self) -> Drawn:
        """Few samples."""
        if self._coarse is None:
            self._coarse = draw(self.stretches, points.COARSE)
        return self._coarse

    def ranges(self) -> tuple[Range, Range]:
        """Wall and running seconds."""
        if self._ranges is None:
            drawn = draw(self.stretches, points.FINE)
            running = points.quantiles(drawn.running)
            if drawn.wall is drawn.running:
                wall = running
            elif isinstance(drawn.first, tuple) and not drawn.later:
                wall = Range(*(each + drawn.first[0] for each in running))
            else:
                wall = points.quantiles(drawn.wall)
            self._ranges = wall, running
            if not self.is_certain:
                self._p_shown = ended(drawn, self.stretches)
        return self._ranges

    @property
    def hours(self) -> Range:
        """Wall time, waiting included."""
        return self.ranges()[0].scaled(1 / SECONDS_PER_HOUR)

    @property
    def billed_hours(self) -> Range:
        """What the meter runs."""
        least = self.stretches.minimum_s
        return Range(*(max(least, each) / SECONDS_PER_HOUR for each in self.ranges()[1]))

    def ends_within(self, limit_h: float | None) -> bool:
        """Whether nobody needs samples to say that it does: nothing interrupts it, and all its slow ends fit twice."""
        if self.stretches.between is not None:
            return False
        return limit_h is None or MOST_CERTAIN * self.stretches.slowest_s() <= limit_h * SECONDS_PER_HOUR

    @property
    def is_certain(self) -> bool:
        """Whether it ends in time without any doubt."""
        return self.ends_within(self.stretches.ceiling_h) and self.ends_within(self.stretches.session_h)

    def p_done(self, bar: float) -> float:
        """Probability that it ends within the ceiling and the session: enough points to tell it from a bar."""
        if self._p_done is None:
            share = 1.0 if self.is_certain else ended(self.coarse, self.stretches)
            if abs(share - bar) < UNSURE:
                share = ended(draw(self.stretches, points.MIDDLE), self.stretches)
            self._p_done = share
        return self._p_done

    @property
    def p_shown(self) -> float:
        """The same of many samples, those of the hours."""
        self.ranges()
        return self._p_shown

    def usually_exceeds(self, ceiling_h: float) -> bool:
        """Whether more than half of the runs take longer, waiting included."""
        if self.ends_within(ceiling_h):
            return False
        wall, ceiling = self.coarse.wall, ceiling_h * SECONDS_PER_HOUR
        return sum([each > ceiling for each in wall]) * 2 > len(wall)

    def usual_h(self) -> float:
        """Wall hours of a usual run, to compare by: of few samples, or the sum of its middles."""
        if self._usual_h is None:
            if self.stretches.between is None:
                seconds = self.stretches.usual_s() + self.stretches.wait.first.likely
            else:
                seconds = points.quantiles(self.coarse.wall).likely
            self._usual_h = seconds / SECONDS_PER_HOUR
        return self._usual_h

    @property
    def p_endless(self) -> float:
        """Probability that it never ends, since machines are taken away before they are set up."""
        if self.stretches.between is None:
            return 0.0
        running = self.coarse.running
        return running.count(math.inf) / len(running)

    def expected_h(self) -> tuple[float, float]:
        """Mean billed and wall hours until it is done or cut off."""
        stretches = self.stretches
        if self.is_certain:
            running = sum(points.mean(part.seconds) for part in stretches.running())
            waited = points.mean(stretches.wait.first)
            return max(running, stretches.minimum_s) / SECONDS_PER_HOUR, (running + waited) / SECONDS_PER_HOUR
        limits = [limit for limit in (stretches.ceiling_h, stretches.session_h) if limit is not None]
        cut, least, drawn = min(limits, default=math.inf) * SECONDS_PER_HOUR, stretches.minimum_s, self.coarse
        if max(drawn.wall) <= cut and min(drawn.running) >= least:
            billed, wall = sum(drawn.running), sum(drawn.wall)
        else:
            billed = sum([max(least, min(each, cut)) for each in drawn.running])
            wall = sum([min(each, cut) for each in drawn.wall])
        seconds = len(drawn.wall) * SECONDS_PER_HOUR
        return billed / seconds, wall / seconds

    @property
    def parts(self) -> tuple[TimePart, ...]:
        """The named stretches; low, likely and high of each are those of a quick, a usual and a slow run."""
        if self._parts is None:
            self._parts = self._worked_out()
        return self._parts

    def _worked_out(self) -> tuple[TimePart, ...]:
        drawn = draw(self.stretches, points.MIDDLE)
        wall, running = self.ranges()
        named = list(named_samples(self.stretches, drawn, points.MIDDLE))
        order = sorted(range(len(drawn.running)), key=drawn.running.__getitem__)
        columns = []
        for share, total in zip(points.QUANTILES, running, strict=True):
            chosen = around(order, share)
            columns.append(adding_up([mean(samples, chosen) for _, samples in named], total))
        found = [
            TimePart(part.name, Range(*(column[index] for column in columns)), part.source)
            for index, (part, _) in enumerate(named)
        ]
        return (*self.waits(drawn, wall, running), *(part for part in found if max(part.seconds) > 0))

    def waits(self, drawn: Drawn, wall: Range, running: Range) -> Iterable[TimePart]:
        """Waiting for the first machine and for later ones: what the wall time has more than the machines run."""
        stretches = self.stretches
        if stretches.wait.first.high <= 0:
            return
        order = sorted(range(len(drawn.wall)), key=drawn.wall.__getitem__)
        columns = []
        for share, whole, ran in zip(points.QUANTILES, wall, running, strict=True):
            chosen = around(order, share)
            one, other = mean(drawn.first, chosen), mean(drawn.later, chosen) if drawn.later else 0.0
            part = one / (one + other) if 0 < one + other < math.inf else 1.0
            waited = 0.0 if ran == math.inf else whole - ran
            columns.append((waited * part, waited * (1 - part)))
        yield TimePart("wait", Range(*(column[0] for column in columns)), stretches.wait.source, billed=False)
        if drawn.later:
            name, source = "wait again", "for a machine after interruptions"
            yield TimePart(name, Range(*(column[1] for column in columns)), source, billed=False)


def ended(drawn: Drawn, stretches: Stretches) -> float:
    """The share of the samples that end within the ceiling and the session."""
    ceiling, session = (
        math.inf if limit is None else limit * SECONDS_PER_HOUR for limit in (stretches.ceiling_h, stretches.session_h)
    )
    if max(drawn.wall) < min(ceiling, session):
        return 1.0
    both = zip(drawn.wall, drawn.running, strict=True)
    return sum(wall <= ceiling and running <= session and wall < math.inf for wall, running in both) / len(drawn.wall)


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
    fates = map(Fate, points.added(count, work, result), writes, every_s, setup, restart, between)
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


def around(order: Sequence[int], share: float) -> Sequence[int]:
    """The points whose runs take about as long as that quantile: one in 16 of all."""
    middle, beside = int(share * len(order)), len(order) // 32
    return order[middle - beside : middle + beside]


def mean(samples: Sequence[float], chosen: Sequence[int]) -> float:
    """Over the chosen points."""
    return sum([samples[index] for index in chosen]) / len(chosen)


def adding_up(means: list[float], total: float) -> list[float]:
    """Means of parts, scaled so that they add up to the total; without an end the last has none."""
    whole = sum(means)
    if math.inf in (total, whole):
        return [*means[:-1], math.inf]
    return [each * total / whole for each in means] if whole else means
