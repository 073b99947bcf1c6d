"""The lines of a quote: one offer with its verdicts, its hours and its dollars."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.offer import Offer, OfferKey, Range
from cloudtrain.quote.disk import Disk
from cloudtrain.quote.ids import row_ids
from cloudtrain.quote.recipes import Recipe
from cloudtrain.units import money, money_text


class TimePart(NamedTuple):
    """One named stretch of time, in seconds; what is waited for a machine is not billed."""

    name: str
    seconds: Range
    source: str
    billed: bool = True


class Dollars(NamedTuple):
    """A cost and how sure it is, in US dollars."""

    low: Decimal
    likely: Decimal
    high: Decimal


class Learnt(NamedTuple):
    """A speed in tokens per second, corrected by so many runs measured here, which have so much weight in it."""

    speed: Range
    basis: str
    runs: int
    weight: float  # 0 to 1; the rest is the shipped figure's

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"runs": self.runs, "weight": round(self.weight, 3)}


class CostPart(NamedTuple):
    """`quantity` in `unit` at `unit_usd` each; an unknown price is None and is never summed."""

    name: str
    quantity: Decimal
    unit: str
    unit_usd: Decimal | None

    @property
    def usd(self) -> Decimal | None:
        """What it comes to."""
        return None if self.unit_usd is None else self.quantity * self.unit_usd

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "quantity": money_text(self.quantity),
            "unit": self.unit,
            "unit_usd": money_text(self.unit_usd),
            "usd": money_text(self.usd),
        }


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


def too_long(hours: Range, limit: str = "") -> str:
    """`takes 1,406 h, the ceiling is 168 h`."""
    likely = hours.likely
    return f"takes {f'{likely:.2g}' if likely < 1 else f'{likely:,.{1 if likely < 1000 else 0}f}'} h, {limit}"


NO_EXTRA_COSTS = ExtraCosts(Decimal(0), Decimal(0), Decimal(0), Decimal(0), Decimal(0))


@dataclass(frozen=True, slots=True)
class Assessment:
    """How a kind of machine suits the job, in any place: everything but the place and its price.

    `hours` is wall time and `billed_hours` what the meter runs, each None when no throughput is known.
    """

    fits: str  # fits | tight | no
    loads: str  # yes | experimental | no trainer
    devices: int
    memory_bytes: int  # usable, per device
    required_bytes: int  # per device
    recipe: Recipe | None
    software: str  # the packages that load and train the model, "" for none
    time_parts: tuple[TimePart, ...]
    hours: Range | None
    billed_hours: Range | None
    basis: str  # where the throughput comes from
    tokens_per_second: Range | None  # of all chips together
    extras: ExtraCosts
    reasons: tuple[str, ...]
    disk: Disk | None = None  # None where there is no recipe
    launch: str = "not yet"  # yes | by hand | not yet
    forbidden: str = ""  # "" when the provider's rules allow it, else why not
    late: str = ""  # "" when it ends in time, else why not
    guards: tuple[str, ...] = ()
    learnt: Learnt | None = None  # None where nothing was measured on such a machine
    p_done: float | None = None  # probability that it ends within the ceiling and the session; None: hours unknown
    expected_h: float | None = None  # mean billed hours until it is done or cut off there; None: unknown

    @property
    def short_of_disk(self) -> str:
        """Why the machine's disk does not do; "" when it does."""
        return self.disk.shortage if self.disk else ""

    @property
    def barred(self) -> str:
        """Why the provider's rules or its disk do not allow it; "" when they do."""
        return "; ".join(filter(None, (self.forbidden, self.short_of_disk)))

    @property
    def time_reasons(self) -> list[str]:
        """What the provider's rules and the ceiling say; both in one sentence when both are about its hours."""
        takes = too_long(self.hours) if self.hours else ""
        if takes and self.forbidden.startswith(takes) and self.late.startswith(takes):
            return [f"{self.forbidden}, {self.late.removeprefix(takes)}"]
        return [reason for reason in (self.forbidden, self.late) if reason]

    @property
    def is_viable(self) -> bool:
        """Whether only a price is missing for the row to be viable."""
        verdicts = self.fits != "no" and self.loads != "no trainer"
        return verdicts and self.billed_hours is not None and not self.barred and not self.late


class QuoteRow:
    """One offer, assessed. `rank` is what it is sorted by, infinite when that is unknown: the expected dollars of
    finishing, E[cost] / P(done), with what the hours of waiting are worth.
    """

    __slots__ = ("assessment", "cap", "offer", "rank", "viable")

    def __init__(
        self, offer: Offer, assessment: Assessment, rank: float, viable: bool, cap: Decimal | None = None
    ) -> None:
        self.offer, self.assessment, self.rank = offer, assessment, rank
        self.viable = viable and (cap is None or rank <= cap)
        self.cap = cap if viable else None  # dollars; None where it changes nothing

    @property
    def too_dear(self) -> bool:
        """Whether nothing but the cap on its dollars keeps it from being viable."""
        return self.cap is not None and not self.viable

    @property
    def key(self) -> OfferKey:
        """Which machine, where, under which market."""
        return self.offer.key

    @property
    def usd(self) -> Dollars | None:
        """Dollars to finish: billed hours times the price plus extras; None when a figure is unknown."""
        price, hours, extras = self.offer.usd_per_hour, self.assessment.billed_hours, self.assessment.extras
        if price is None or hours is None or hours.high == float("inf"):
            return None
        hourly = price + extras.hourly_usd
        return Dollars(*(hourly * Decimal(f"{bound:.6f}") + extras.fixed_usd for bound in hours))

    @property
    def usd_likely(self) -> Decimal:
        """The expected dollars; infinite when they are unknown."""
        usd = self.usd
        return usd.likely if usd else Decimal("Infinity")

    @property
    def p_done(self) -> float | None:
        """Probability that it ends within the ceiling and the session; None where its hours are unknown."""
        return self.assessment.p_done

    @property
    def priced(self) -> bool:
        """Whether its price per hour is known."""
        return self.offer.usd_per_hour is not None

    def reasons(self) -> list[str]:
        """Why the line is not viable, or what to know about it when it is."""
        found = [*self.assessment.reasons, self.assessment.short_of_disk]
        if not self.priced:
            found.append(f"price unknown{': ' + self.offer.note if self.offer.note else ''}")
        if self.cap is not None and self.too_dear:
            found.append(f"costs {money(self.usd_likely)}, the cap is {money(self.cap)}")
        return [reason for reason in (*found, *self.assessment.time_reasons) if reason]


@dataclass(frozen=True, slots=True)
class Quote:
    """All lines, viable ones first by expected dollars; `chosen` is an index into them or None."""

    lines: tuple[QuoteRow, ...]
    failures: tuple[tuple[str, str], ...]
    chosen: int | None
    as_of: str
    catalog: str
    flops: float
    request: Any = field(repr=False, default=None)
    measured: Any = field(repr=False, default=None)  # what corrected the shipped data, for a question asked again

    def ids(self) -> list[str]:
        """The id of each line, which stays the same in other quotes."""
        return row_ids([line.offer for line in self.lines])
