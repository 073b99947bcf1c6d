"""The rest of a run, quoted again from its own rate: hours and dollars in all, against its quote, cap and deadline.

The machine says how long its steps took and what that makes of those left (`records.PaceClaim`, a claim: it is shown,
and the machine stops itself by it, but nothing here decides anything). What the steps do not show keeps its quoted
distribution: saves and interruptions as a share of the steps, the result after them, traffic.
"""

from __future__ import annotations

import contextlib
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.runs import claims
from cloudtrain.units import SECONDS_PER_HOUR, hours, money, money_text

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import Bounds, Figures, RowRecord
    from cloudtrain.runs.record import Run

# Names of the quote's stretches of time. What is over once steps are made, and what is not billed; any other one
# (checkpoints, interruptions) goes with the steps.
BEFORE = ("boot", "image", "weights", "load", "quantise", "compile", "wait", "wait again")
STEPPING = ("steps", "unpack")
AFTER = ("result",)
LOOK_S, HEARTBEAT_S = 2.0, 30.0  # between two looks at a heartbeat, here and at a provider
BOUNDS = ("low", "likely", "high")


class Three(NamedTuple):
    """A figure that one in ten is below, its middle, and one that one in ten is above."""

    low: float
    likely: float
    high: float


class ThreeUsd(NamedTuple):
    """The same in dollars."""

    low: Decimal
    likely: Decimal
    high: Decimal

    def __str__(self) -> str:
        return f"{money(self.likely)} in all ({money(self.low)} .. {money(self.high)})"


class Done(NamedTuple):
    """What a run has had by the time that its rest is quoted: seconds of machines, and their cost at their prices."""

    seconds: float
    usd: Decimal | None


class Limits(NamedTuple):
    """What ends a run before it is finished: its money cap, and seconds until its deadline."""

    cap_usd: Decimal | None
    deadline_s: float
    stops: bool = False  # it ends itself once the cap may not do


class Remaining(NamedTuple):
    """The rest of a run: billed hours in all and from now on (`left_h`), dollars in all (None: a price is unknown)."""

    left_h: Three
    hours: Three
    usd: ThreeUsd | None
    quoted_usd: Decimal | None
    limits: Limits

    @property
    def above_cap(self) -> bool:
        """Whether the worst case passes the cap."""
        return self.usd is not None and self.limits.cap_usd is not None and self.usd.high > self.limits.cap_usd

    @property
    def late(self) -> bool:
        """Whether it will most likely not be finished by its deadline."""
        return self.left_h.likely * SECONDS_PER_HOUR > self.limits.deadline_s

    def document(self) -> dict[str, Any]:
        """For JSON: in all, what was spent included."""
        return {
            "left_hours": _document(self.left_h),
            "hours": _document(self.hours),
            "total_usd": None
            if self.usd is None
            else {name: money_text(each) for name, each in zip(BOUNDS, self.usd, strict=True)},
            "above_cap": self.above_cap,
            "late": self.late,
        }

    def describe(self) -> str:
        """One line for a person."""
        low, likely, high = (hours(each * SECONDS_PER_HOUR) for each in self.left_h)
        told = f"rest quoted from its own rate: {likely} ({low} .. {high})"
        if self.usd is not None:
            told += f", {self.usd}"
        return told if self.quoted_usd is None else f"{told}, quoted {money(self.quoted_usd)}"

    def warnings(self) -> list[str]:
        """What will not do, and what to do about it."""
        found = []
        if self.above_cap and self.usd is not None and self.limits.cap_usd is not None:
            then = "it saves and stops" if self.limits.stops else "it saves and stops when the cap is reached"
            found.append(
                f"above its cap: it may cost {money(self.usd.high)}, the cap is {money(self.limits.cap_usd)}; {then}, "
                "and `cloudtrain up` with a higher --max-cost goes on from there"
            )
        if self.late:
            found.append(
                f"will not finish before its deadline in {hours(self.limits.deadline_s)}: needs "
                f"{hours(self.left_h.likely * SECONDS_PER_HOUR)}; it saves and stops then, and `cloudtrain up` goes on "
                "from there (--max-hours)"
            )
        return found


def remaining(left_s: tuple[float, float, float], row: RowRecord, done: Done, limits: Limits) -> Remaining:
    """The rest of a run whose steps still take `left_s` seconds (low, likely, high), on this row. Pure.

    Never less than what is done, and with slower steps never less than with faster ones.
    """
    along, after_s = shares(row)
    left = Three(*(s * (1 + share) + rest for s, share, rest in zip(sorted(left_s), along, after_s, strict=True)))
    left_h = Three(*(each / SECONDS_PER_HOUR for each in left))
    whole_h = Three(*(each + done.seconds / SECONDS_PER_HOUR for each in left_h))
    quoted = None if row.total_usd is None else row.total_usd.likely
    return Remaining(left_h, whole_h, dollars(left_h, row, done), quoted, limits)


def dollars(left_h: Three, row: RowRecord, done: Done) -> ThreeUsd | None:
    """What a run costs in all: machines, disk and address so far and to its end, and the traffic of its result."""
    beside, traffic = beside_usd_per_hour(row), traffic_usd(row)
    price = row.price_usd_per_hour
    if price is None or done.usd is None or beside is None or traffic is None:
        return None
    spent = done.usd + beside * Decimal(done.seconds) / SECONDS_PER_HOUR + traffic
    return ThreeUsd(*(spent + (price + beside) * Decimal(each) for each in left_h))


def shares(row: RowRecord) -> tuple[Three, Three]:
    """What comes with the steps, as a share of them, and what comes after them in seconds, as the row quotes them."""

    def total(wanted: Any) -> list[float]:
        parts = [part for name, part in row.time_parts_s.items() if wanted(name)]
        return [sum(bound_of(part, bound) for part in parts) for bound in BOUNDS]

    steps = total(lambda name: name in STEPPING)
    along = total(lambda name: name not in (*BEFORE, *STEPPING, *AFTER))
    ratios = (part / whole if whole else 0.0 for part, whole in zip(along, steps, strict=True))
    return Three(*sorted(ratios)), Three(*sorted(total(lambda name: name in AFTER)))


def bound_of(part: Bounds, bound: str) -> float:
    """A bound of a stretch; of one without an end its likely length."""
    found: float | None = getattr(part, bound)
    return float((part.likely or 0.0) if found is None else found)


def beside_usd_per_hour(row: RowRecord) -> Decimal | None:
    """What disk and address cost an hour; None where one of their prices is unknown."""
    if row.beside_usd_per_hour is not None:
        return row.beside_usd_per_hour
    billed = next((part.quantity for part in row.cost_parts if part.name == "compute"), None)
    beside = [part for part in row.cost_parts if part.name != "compute" and part.unit.endswith("hours")]
    if any(part.unit_usd is None for part in beside):
        return None
    total = sum((part.quantity * (part.unit_usd or 0) for part in beside), Decimal(0))
    return total / billed if billed else Decimal(0)


def traffic_usd(row: RowRecord) -> Decimal | None:
    """What it costs to bring the result home; None where that price is unknown."""
    parts = [part for part in row.cost_parts if not part.unit.endswith("hours")]
    if any(part.unit_usd is None for part in parts):
        return None
    return sum((part.quantity * (part.unit_usd or 0) for part in parts), Decimal(0))


def orders(plan: Plan) -> dict[str, Any]:
    """By what the plan's machine foresees how it ends, without a client: see `rest` in `templates/supervisor`."""
    along, after_s = shares(plan.line)
    found = {"along": along.high, "after_s": after_s.high, "ends_at": plan.ends}
    if plan.cap_at is None:
        return found
    hourly = (plan.line.price_usd_per_hour or Decimal(0)) + (beside_usd_per_hour(plan.line) or Decimal(0))
    reserve_s = float((traffic_usd(plan.line) or Decimal(0)) / hourly) * SECONDS_PER_HOUR if hourly else 0.0
    return {**found, "cap_at": plan.cap_at - reserve_s, "stop_above_cap": plan.stop_above_cap}


def of_run(run: Run, seen: Figures | None) -> Remaining | None:
    """The rest of a run by these figures of its machine; None before its steps tell, or where its row is not known."""
    if seen is None or seen.paced is None or run.line is None or run.begun is None:
        return None
    if seen.attempt not in (None, run.begun.attempt):
        return None
    limits = Limits(run.begun.max_cost_usd, max(0.0, run.ends - time.time()), run.begun.stop_above_cap)
    return remaining(seen.paced.left_s, run.line, Done(run.metered_s(), run.spent_usd()), limits)


def first_told(run: Run) -> tuple[float, Remaining] | None:
    """What was told first of the rest of its newest attempt: at which step, and what; also of a run that has ended."""
    paced = next((seen.paced for seen in (run.exit, run.heartbeat) if seen is not None and seen.paced), None)
    if paced is None or paced.first is None or run.line is None or not (machines := run.machines()):
        return None
    *earlier, newest = machines
    began = 0.0 if run.machine is None else run.machine.created
    here_s = min(newest.seconds, max(0.0, paced.first.time - began))
    stood = [*earlier, newest._replace(seconds=here_s)]
    costs = [None if each.usd_per_hour is None else each.usd_per_hour * Decimal(each.seconds) for each in stood]
    usd = None if None in costs else sum((each for each in costs if each is not None), Decimal(0)) / SECONDS_PER_HOUR
    done = Done(sum(each.seconds for each in stood), usd)
    return float(paced.first.step), remaining(paced.first.left_s, run.line, done, Limits(None, float("inf")))


class Watch:
    """What of it is news to somebody who follows a run: the first figure, one out of the range told, a new warning.

    The records of the run are read once: they do not change while its machine stands. A state that cannot be reached,
    or a damaged record, is no news: nobody who follows needs this.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.told: Remaining | None = None
        self.due = 0.0

    def look(self) -> Remaining | None:
        """What the newest heartbeat has to tell; it is read no more often than one is written."""
        if time.monotonic() < self.due:
            return None
        self.due = time.monotonic() + (LOOK_S if self.run.stack.direct else HEARTBEAT_S)
        with contextlib.suppress(UsageError):
            if self.run.exit is None and self.run.gone is None:
                return self.news(self.run, claims.heartbeat(self.run.store, self.run.key("hb.json")))
        return None

    def news(self, run: Run, seen: Figures | None) -> Remaining | None:
        """What is to be told of the run by these figures; it is meant to be told then."""
        now = None
        with contextlib.suppress(UsageError):
            now = of_run(run, seen)
        if now is None or not is_news(self.told, now):
            return None
        self.told = now
        return now


def is_news(before: Remaining | None, now: Remaining) -> bool:
    """Whether this says something else than what was told before."""
    if before is None or (before.above_cap, before.late) != (now.above_cap, now.late):
        return True
    return not before.hours.low <= now.hours.likely <= before.hours.high


def _document(three: Three) -> dict[str, float]:
    return {name: round(each, 4) for name, each in zip(BOUNDS, three, strict=True)}
