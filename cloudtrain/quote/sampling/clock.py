"""The clock of a job on a kind of machine: how long it takes and what it is billed for, from its uncertain parts.

Hours are wall time with all waiting, billed hours what the meter runs. Each is P10, P50 and P90 of samples; the named
parts are those of runs that take about so long: in each column they add up to the hours.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cloudtrain.offer import Range
from cloudtrain.quote.sampling import points
from cloudtrain.quote.sampling.draws import draw, ended, named_samples
from cloudtrain.quote.sampling.parts import TimePart
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloudtrain.quote.sampling.draws import Drawn, Stretches

MOST_CERTAIN = 2.0  # so many times all slow ends together is within a limit: it ends in time
# Each part is its middle or more in half of the runs, whatever the others are: so in at least half of them all parts
# together are half of all middles or more, because either those above theirs are or, as likely, those below.
SURELY_OVER = 2.0
UNSURE = 0.05  # within so much of a bar, the probability of a few points is worked out anew with more


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
        ceiling = ceiling_h * SECONDS_PER_HOUR
        if self.stretches.usual_s() > SURELY_OVER * ceiling:
            return True
        wall = self.coarse.wall
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
