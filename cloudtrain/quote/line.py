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
    """What a kind of machine makes of the job, wherever it stands: everything but the place's price.

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


@dataclass(slots=True)
class Line:
    """One offer, judged."""

    offer: Offer
    case: Case
    launch: str  # yes | by hand | not yet
    allowed: str = ""  # "" when allowed, else why not
    priced: bool = True
    late: str = ""  # "" when in time, else why not
    usd: Dollars | None = None
    viable: bool = False
    guards: tuple[str, ...] = ()
    remedy: str = ""

    @property
    def usd_likely(self) -> Decimal:
        """The ranking key; a line without a figure ranks last."""
        return self.usd.likely if self.usd else Decimal("Infinity")

    def reasons(self) -> list[str]:
        """Why the line is not viable, or what to know about it when it is."""
        found = list(self.case.reasons)
        if self.allowed:
            found.append(self.allowed)
        if not self.priced:
            found.append(f"price unknown{': ' + self.offer.note if self.offer.note else ''}")
        if self.late:
            found.append(self.late)
        return found


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
