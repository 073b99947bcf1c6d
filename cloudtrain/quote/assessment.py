"""How a kind of machine suits a job, in any place: verdicts, time, costs in addition to its price."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.offer import NO_LIMITS, Limits, Range
from cloudtrain.quote.machine.disk import Disk
from cloudtrain.quote.recipes import Recipe
from cloudtrain.quote.sampling.parts import TimePart

if TYPE_CHECKING:
    from cloudtrain.quote.sampling.clock import Clock

IN_TIME = 0.8  # what ends within the ceiling with less probability than this is not in time


class Learnt(NamedTuple):
    """A speed in tokens per second, corrected by so many runs measured here, which have so much weight in it."""

    speed: Range
    basis: str
    runs: int
    weight: float  # 0 to 1; the rest is the shipped figure's

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"runs": self.runs, "weight": round(self.weight, 3)}


class Instead(NamedTuple):
    """What to ask for so that the same machine costs less, and its assessment then."""

    words: str
    assessment: Assessment


class ExtraCosts(NamedTuple):
    """A machine's costs in addition to its price: sizes in gigabytes, unit prices in US dollars (None: unknown)."""

    disk_gb: Decimal
    disk_usd_per_gb_hour: Decimal | None
    address_usd_per_hour: Decimal | None
    egress_gb: Decimal
    egress_usd_per_gb: Decimal | None
    disk_mb_s: int = 0  # that are paid in addition, on all hosts
    disk_usd_per_mb_s_hour: Decimal | None = None

    @property
    def hourly_usd(self) -> Decimal:
        """Disk and address per hour; an unknown price adds nothing and shows as unknown in the cost lines."""
        disk = self.disk_gb * (self.disk_usd_per_gb_hour or Decimal(0))
        faster = self.disk_mb_s * self.disk_usd_per_mb_s_hour if self.disk_usd_per_mb_s_hour else Decimal(0)
        return disk + faster + (self.address_usd_per_hour or Decimal(0))

    @property
    def fixed_usd(self) -> Decimal:
        """Egress."""
        return self.egress_gb * (self.egress_usd_per_gb or Decimal(0))


def too_long(hours: Range, limit: str) -> str:
    """`takes 1,406 h, the ceiling is 168 h`."""
    likely = hours.likely
    return f"takes {f'{likely:.2g}' if likely < 1 else f'{likely:,.{1 if likely < 1000 else 0}f}'} h, {limit}"


NO_EXTRA_COSTS = ExtraCosts(Decimal(0), Decimal(0), Decimal(0), Decimal(0), Decimal(0))


@dataclass(frozen=True, eq=False, repr=False)
class Assessment:
    """How a kind of machine suits the job, in any place: everything but the place and its price."""

    fits: str  # fits | tight | no
    loads: str  # yes | experimental | no trainer
    devices: int
    memory_bytes: int  # usable, per device
    required_bytes: int  # per device
    recipe: Recipe | None
    software: str  # the packages that load and train the model, "" for none
    setup_parts: tuple[TimePart, ...]  # before the first step
    clock: Clock | None  # None when no throughput is known
    basis: str  # where the throughput comes from
    tokens_per_second: Range | None  # of all chips together
    extras: ExtraCosts
    reasons: tuple[str, ...]
    disk: Disk | None = None  # None where there is no recipe
    launch: str = "not yet"  # yes | by hand | not yet
    limits: Limits = NO_LIMITS
    ceiling_h: float | None = None  # on the wall time
    guards: tuple[str, ...] = ()
    learnt: Learnt | None = None  # None where nothing was measured on such a machine
    instead: Instead | None = None  # a larger micro-batch that takes less time, where nobody left that to us

    @property
    def untried(self) -> str:
        """Why its speed is to be taken with care; "" where we, or this state's runs, have seen it."""
        return self.recipe.untried if self.recipe and self.learnt is None and self.loads != "no trainer" else ""

    @property
    def hours(self) -> Range | None:
        """Wall time with all waiting; None when no throughput is known."""
        return self.clock.hours if self.clock else None

    @property
    def billed_hours(self) -> Range | None:
        """What the meter runs; None when no throughput is known."""
        return self.clock.billed_hours if self.clock else None

    @property
    def time_parts(self) -> tuple[TimePart, ...]:
        """Named stretches that add up to the hours; what is known of them where no throughput is."""
        return self.clock.parts if self.clock else self.setup_parts

    @property
    def short_of_disk(self) -> str:
        """Why the machine's disk does not do; "" when it does."""
        return self.disk.shortage if self.disk else ""

    @property
    def p_done(self) -> float | None:
        """Probability that it ends within the ceiling and the session; None when no throughput is known."""
        return self.clock.p_done(IN_TIME) if self.clock else None

    @property
    def p_shown(self) -> float | None:
        """The same of many samples, to be shown."""
        return self.clock.p_shown if self.clock else None

    @property
    def expected_h(self) -> tuple[float, float] | None:
        """Mean billed and wall hours until it is done or cut off; None when no throughput is known."""
        return self.clock.expected_h() if self.clock else None

    @property
    def usual_h(self) -> float:
        """Wall hours in the middle of a few samples, to sort by; infinite when no throughput is known."""
        return self.clock.usual_h() if self.clock else float("inf")

    @property
    def over_session(self) -> str:
        """`a session ends after 24 h`, where it usually takes longer; "" where it does not."""
        session, week = self.limits.session_hours, self.limits.weekly_hours
        if self.clock and session is not None and self.clock.usually_exceeds(session):
            return f"a session ends after {session:g} h"
        if self.clock and week is not None and self.clock.usually_exceeds(week):
            return f"the week has {week:g} h"
        return ""

    @property
    def over_ceiling(self) -> str:
        """`the ceiling is 168 h`, where it usually takes longer; "" where it does not."""
        ceiling = self.ceiling_h
        exceeded = self.clock and ceiling is not None and self.clock.usually_exceeds(ceiling)
        return f"the ceiling is {ceiling:g} h" if exceeded else ""

    @property
    def unsure(self) -> str:
        """Why nobody can rely on it to end in time, though it usually does; "" where one can."""
        if self.clock is None or self.over_session or self.over_ceiling:
            return ""
        if self.clock.p_endless > (1 - IN_TIME) / 2:
            return "may never end: interruptions can come faster than the job is set up again"
        p_done = self.p_done or 0.0
        return "" if p_done >= IN_TIME else f"ends in time with a probability of {100 * p_done:.0f} % only"

    @property
    def forbidden(self) -> str:
        """Why the provider's rules do not allow it; "" when they do."""
        return self.limits.barred or self.over_session

    @property
    def late(self) -> str:
        """Why it does not end in time; "" when it does."""
        return self.over_ceiling or self.unsure

    @property
    def barred(self) -> str:
        """Why the provider's rules or its disk do not allow it; "" when they do."""
        return "; ".join(filter(None, (self.forbidden, self.short_of_disk)))

    @property
    def time_reasons(self) -> list[str]:
        """What the provider's rules and the ceiling say; in one sentence where that is about its hours."""
        over = [limit for limit in (self.over_session, self.over_ceiling) if limit]
        takes = [too_long(self.hours, ", ".join(over))] if over and self.hours else []
        return [reason for reason in (self.limits.barred, *takes, self.unsure) if reason]

    @property
    def could_do(self) -> bool:
        """Whether nothing but its time and its price can keep the row from being viable."""
        verdicts = self.fits != "no" and self.loads != "no trainer"
        return verdicts and self.clock is not None and not self.limits.barred and not self.short_of_disk

    @property
    def is_viable(self) -> bool:
        """Whether only a price is missing for the row to be viable."""
        return self.could_do and not self.over_session and not self.late
