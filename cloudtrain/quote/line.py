"""The lines of a quote: one offer with its verdicts, its hours and its dollars."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.quote.costs import Beside
from cloudtrain.quote.recipes import Recipe
from cloudtrain.seams import Offer, Range


class TimePart(NamedTuple):
    """One named stretch of billed time, in seconds."""

    name: str
    seconds: Range
    source: str


class Dollars(NamedTuple):
    """A cost and how sure it is, in US dollars."""

    low: Decimal
    likely: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Case:
    """What a kind of machine makes of the job, wherever it stands: everything but the place and its price.

    `hours` is wall time and `billed_hours` what the meter runs, each None when no throughput is known.
    """

    fits: str  # fits | tight | no
    loads: str  # yes | experimental | no trainer
    devices: int
    memory_bytes: int  # usable, per device
    required_bytes: int  # per device
    recipe: Recipe | None
    stack: str
    time_parts: tuple[TimePart, ...]
    hours: Range | None
    billed_hours: Range | None
    basis: str  # where the throughput comes from
    tokens_per_second: Range | None  # of all chips together
    beside: Beside
    reasons: tuple[str, ...]
    launch: str = "not yet"  # yes | by hand | not yet
    barred: str = ""  # "" when the provider's rules allow it, else why not
    late: str = ""  # "" when it ends in time, else why not
    guards: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether only a price is missing for the row to be viable."""
        verdicts = self.fits != "no" and self.loads != "no trainer"
        return verdicts and self.billed_hours is not None and not self.barred and not self.late


class Line:
    """One offer, judged. `rank` is its expected dollars as a number to sort by, infinite when they are unknown."""

    __slots__ = ("case", "offer", "rank", "viable")

    def __init__(self, offer: Offer, case: Case, rank: float, viable: bool) -> None:
        self.offer, self.case, self.rank, self.viable = offer, case, rank, viable

    @property
    def usd(self) -> Dollars | None:
        """Dollars to finish: billed hours times the price and what is beside it; None when a figure is unknown."""
        price, hours, beside = self.offer.usd_per_hour, self.case.billed_hours, self.case.beside
        if price is None or hours is None or hours.high == float("inf"):
            return None
        hourly = price + beside.hourly_usd
        return Dollars(*(hourly * Decimal(f"{bound:.6f}") + beside.fixed_usd for bound in hours))

    @property
    def usd_likely(self) -> Decimal:
        """The expected dollars; infinite when they are unknown."""
        usd = self.usd
        return usd.likely if usd else Decimal("Infinity")

    @property
    def priced(self) -> bool:
        """Whether its price per hour is known."""
        return self.offer.usd_per_hour is not None

    def reasons(self) -> list[str]:
        """Why the line is not viable, or what to know about it when it is."""
        found = [*self.case.reasons, self.case.barred]
        if not self.priced:
            found.append(f"price unknown{': ' + self.offer.note if self.offer.note else ''}")
        return [reason for reason in (*found, self.case.late) if reason]


@dataclass(frozen=True, slots=True)
class Quote:
    """All lines, viable ones first by expected dollars; `chosen` is an index into them or None."""

    lines: tuple[Line, ...]
    failures: tuple[tuple[str, str], ...]
    chosen: int | None
    as_of: str
    catalog: str
    flops: float
    request: Any = field(repr=False, default=None)
