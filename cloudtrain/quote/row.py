"""The lines of a quote: one offer with its verdicts, its hours and its dollars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.offer import Offer, OfferKey
from cloudtrain.quote.assessment import Assessment
from cloudtrain.quote.ids import id_of, row_ids
from cloudtrain.units import money, money_text

WORTH_SAYING = Decimal("0.9")  # of the dollars: what costs more than that is not worth a change


class Dollars(NamedTuple):
    """A cost and how sure it is, in US dollars."""

    low: Decimal
    likely: Decimal
    high: Decimal


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


class QuoteRow:
    """One offer, assessed. `rank` is what it is sorted by, infinite when that is unknown: the expected dollars of
    finishing, E[cost] / P(done), with what the hours of waiting are worth.
    """

    __slots__ = ("assessment", "cap", "expected_usd", "offer", "rank", "viable")

    def __init__(
        self,
        offer: Offer,
        assessment: Assessment,
        rank: float,
        viable: bool,
        cap: Decimal | None = None,
        expected_usd: float | None = None,
    ) -> None:
        self.offer, self.assessment, self.rank = offer, assessment, rank
        self.expected_usd = rank if expected_usd is None else expected_usd  # E[cost] / P(done); infinite: unknown
        self.viable = viable and (cap is None or self.expected_usd <= cap)
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
    def p_shown(self) -> float | None:
        """Probability that it ends within the ceiling and the session; None where its hours are unknown."""
        return self.assessment.p_shown

    @property
    def priced(self) -> bool:
        """Whether its price per hour is known."""
        return self.offer.usd_per_hour is not None

    @property
    def failures(self) -> int:
        """How many of the verdicts fail."""
        case = self.assessment
        verdicts = (case.fits == "no", case.loads == "no trainer", bool(case.barred), not self.priced, bool(case.late))
        return sum((*verdicts, case.clock is None))

    def reasons(self) -> list[str]:
        """Why the line is not viable, or what to know about it when it is."""
        found = [*self.assessment.reasons, self.assessment.short_of_disk]
        if not self.priced:
            found.append(f"price unknown{': ' + self.offer.note if self.offer.note else ''}")
        if self.cap is not None and self.too_dear:
            found.append(f"is expected to cost {money(Decimal(self.expected_usd))}, the cap is {money(self.cap)}")
        return [reason for reason in (*found, *self.assessment.time_reasons, self.cheaper) if reason]

    @property
    def cheaper(self) -> str:
        """`cheaper with --batch 8: likely $39`, where that saves a tenth of the dollars of a viable row; else ""."""
        instead = self.assessment.instead
        if instead is None or not self.viable:
            return ""
        usd = QuoteRow(self.offer, instead.assessment, self.rank, True).usd_likely
        return f"cheaper with {instead.words}: likely {money(usd)}" if usd < WORTH_SAYING * self.usd_likely else ""


class Quote(NamedTuple):
    """All lines, viable ones first by expected dollars; `chosen` is an index into them or None."""

    lines: tuple[QuoteRow, ...]
    failures: tuple[tuple[str, str], ...]
    chosen: int | None
    as_of: str
    catalog: str
    flops: float
    request: Any = None
    measured: Any = None  # what corrected the shipped data, for a question asked again

    def ids(self) -> list[str]:
        """The id of each line, which stays the same in other quotes."""
        return row_ids([line.offer for line in self.lines])

    def id_of(self, index: int) -> str:
        """The id of one line."""
        return id_of(self.lines[index].offer, [line.offer for line in self.lines])
