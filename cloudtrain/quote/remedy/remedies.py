"""What does the job instead of a rejected line, and the cheapest change that makes the line itself work.

Nothing is advised before it was assessed like any offer: it loads, it fits (tight is not enough), has a price and ends
in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.providers import PriceSource, Stack, load, names
from cloudtrain.quote import engine, renewal
from cloudtrain.quote.called import called, machine
from cloudtrain.quote.chips import chips
from cloudtrain.quote.compatibility import loads
from cloudtrain.quote.remedy.kin import smaller_kin
from cloudtrain.units import SECONDS_PER_HOUR, hours, money

if TYPE_CHECKING:
    from cloudtrain.offer import Offer
    from cloudtrain.quote.request import Request
    from cloudtrain.quote.row import Quote, QuoteRow

SHORTEST_SEQUENCE = 256
LEAST_TOKENS_SHARE = 64  # a job is cut to this part of its tokens at the least
METHODS = ("qlora", "lora", "freeze")  # in the order in which one is advised: adapters first
ASK = "ask the provider for its price"


class Change(NamedTuple):
    """What to ask for instead, in words, and the line that it makes."""

    words: str
    row: QuoteRow

    @property
    def text(self) -> str:
        """With what it costs and how long it takes."""
        return f"{self.words}: {cost_text(self.row)}"


class Advisor:
    """The remedies of one quote. What is a matter of the kind of machine is worked out once for all its lines."""

    def __init__(self, quote: Quote) -> None:
        self.quote = quote
        self.request: Request = quote.request
        self.tried: dict[tuple[int, str], engine.Kind | None] = {}
        self.kinds: dict[tuple[bool, bool], list[list[tuple[str, Request]]]] = {}
        self.chips: dict[tuple[str, str], list[QuoteRow]] = {}
        for line in sorted((line for line in quote.lines if is_good(line)), key=lambda line: line.rank):
            self.chips.setdefault((line.offer.provider, line.offer.hardware), []).append(line)
        self.best = self.best_lines()
        # the lines of the quote that do the job: `runpod 2 x MI300X does it for likely $12.25 in 2.5 h`
        self.instead = [f"{called(line.offer)} does it for {cost_text(line)}{caveat(line)}" for line in self.best]

    def __call__(self, line: QuoteRow) -> str:
        """All that is advised for a rejected line; "" when nothing is known to help."""
        return "; ".join(filter(None, (*self.instead, self.change(line, besides=self.best))))

    def best_lines(self) -> list[QuoteRow]:
        """The cheapest line that works, and the one that `up` would take where that is another."""
        table = chips()
        ours = [lines[0] for (_, key), lines in self.chips.items() if key in table and table[key].vendor != "nvidia"]
        if not ours:
            return []
        best = [min(ours, key=lambda line: line.rank)]
        if caveat(best[0]) and self.quote.chosen is not None:
            chosen = self.quote.lines[self.quote.chosen]
            best += [chosen] if chosen is not best[0] and is_good(chosen) else []
        return best

    def change(self, line: QuoteRow, besides: Iterable[QuoteRow] = ()) -> str:
        """The cheapest change that makes the line work; "" when none does, or when it leads to a line of `besides`."""
        if not line.priced:
            if not line.assessment.is_viable:
                return ""
            command = renewal.command(line.offer.provider)
            return f"`{command}` asks for its price" if command else ASK
        if line.assessment.hours is None or line.offer.limits.barred:
            return ""
        found = [*self.smaller_jobs(line), *self.larger_machines(line)]
        if found:
            best = min(found, key=lambda change: change.row.rank)
            if not any(best.row is known for known in besides):
                return best.text if best.row.offer is line.offer else f"{best.words} does it for {cost_text(best.row)}"
            return ""
        return next((change.text for change in self.last_resorts(line)), "")

    def smaller_jobs(self, line: QuoteRow) -> Iterator[Change]:
        """The least change of each kind (batch, length, method) with which this very machine works."""
        key = line.assessment.loads == "no trainer", line.assessment.fits != "fits"
        if key not in self.kinds:
            self.kinds[key] = list(kinds_of_change(self.request, *key))
        for changes in self.kinds[key]:
            found = next(filter(None, (self.tried_on(line, *change) for change in changes)), None)
            if found:
                yield found

    def larger_machines(self, line: QuoteRow) -> Iterator[Change]:
        """The cheapest line with the same chip of the same provider."""
        same = self.chips.get((line.offer.provider, line.offer.hardware), [])
        if same:
            yield Change(named_beside(same[0].offer, line.offer), same[0])

    def last_resorts(self, line: QuoteRow) -> Iterator[Change]:
        """What asks for more of the person: a higher ceiling or cap, less work, a smaller model of the same kind."""
        assessment, request = line.assessment, self.request
        if assessment.late and assessment.hours and math.isfinite(assessment.hours.high):
            needed = math.ceil(assessment.hours.high)
            yield from self.works(line, more_hours(request, needed), request._replace(max_hours=float(needed)))
        if line.too_dear:
            cap = Decimal(math.ceil(line.expected_usd))
            yield from self.works(line, f"--max-cost {cap}", request._replace(max_cost=cap))
        if assessment.late or assessment.forbidden:
            part = 2
            while part <= LEAST_TOKENS_SHARE:
                fewer = request._replace(tokens=max(1, request.tokens // part))
                yield from self.works(line, fewer_tokens(fewer, part), fewer)
                part *= 2
        for words, other in self.smaller_models:
            yield from self.works(line, words, other)

    @cached_property
    def smaller_models(self) -> list[tuple[str, Request]]:
        """The same job for smaller models of the same kind, the largest first."""
        kin = smaller_kin(self.request.spec)
        return [(f"`{spec.name}` instead", self.request._replace(spec=spec)) for spec in kin]

    def works(self, line: QuoteRow, words: str, request: Request) -> Iterator[Change]:
        """The change, if it works."""
        change = self.tried_on(line, words, request)
        if change:
            yield change

    def tried_on(self, line: QuoteRow, words: str, request: Request) -> Change | None:
        """The other request on the line's own machine, if that works."""
        key = id(line.assessment), words
        if key not in self.tried:
            self.tried[key] = assessed(self.quote, request, line.offer)
        kind = self.tried[key]
        if kind is None:
            return None
        row = engine.priced(line.offer, kind, request)
        return Change(words, row) if is_good(row) else None


def advisor(quote: Quote) -> Advisor:
    """What to say of the rejected lines of a quote."""
    return Advisor(quote)


def assessed(quote: Quote, request: Request, offer: Offer) -> engine.Kind | None:
    """The offer's kind of machine for another request; None where it does not work there whatever the price."""
    chip = chips().get(offer.hardware)
    if chip is None:
        return None
    found = loads(request, chip.backend, chip.architecture)
    if found.verdict == "no trainer":
        return None  # asked first, because it costs nothing
    try:
        source = load("pricing", offer.provider, PriceSource)
    except UsageError:
        return None
    stack = load("stacks", offer.provider, Stack) if offer.provider in names("stacks") else None
    kind = engine.assess_with_terms(request, source, offer, stack, quote.measured)
    return kind if kind.is_viable and kind.assessment.fits == "fits" else None


def kinds_of_change(request: Request, unloadable: bool, too_large: bool) -> Iterator[list[tuple[str, Request]]]:
    """Smaller jobs as (words, request), the least change first in each kind; only those that can help."""
    if unloadable:
        positions = request.spec.published.positions
        if 0 < positions < request.sequence_length:
            yield [(f"--seq {positions}", request._replace(sequence_length=positions))]
        yield [by_method(request, method) for method in METHODS if method != request.method]
        return
    if too_large:
        if request.batch > 1:
            yield [("--batch 1", request._replace(batch=1))]
        first = "--batch 1 " if request.batch > 1 else ""
        lengths = [request.sequence_length >> halvings for halvings in range(1, 32)]
        yield [
            (f"{first}--seq {length}", request._replace(batch=1, sequence_length=length))
            for length in lengths
            if length >= SHORTEST_SEQUENCE
        ]
    yield [by_method(request, method) for method in METHODS[:2] if method != request.method]


def by_method(request: Request, method: str) -> tuple[str, Request]:
    """The same job with another method."""
    return f"--method {method}", request._replace(method=method)  # type: ignore[arg-type]  # one of METHODS


def is_good(line: QuoteRow) -> bool:
    """Whether a line may be advised: viable, and with room in its memory."""
    return line.viable and line.assessment.fits == "fits"


def cost_text(line: QuoteRow) -> str:
    """`likely $12.25 in 2.5 h`: ranges stand in the row that is meant."""
    wall = line.assessment.hours
    return f"likely {money(line.usd_likely)} in {hours(wall.likely * SECONDS_PER_HOUR if wall else None)}"


def caveat(line: QuoteRow) -> str:
    """What to know before one relies on a line that works, in brackets."""
    known = ["experimental"] if line.assessment.loads == "experimental" else []
    known += {"by hand": ["by hand"], "not yet": ["not yet by `up`"]}.get(line.assessment.launch, [])
    return f" ({', '.join(known)})" if known else ""


def named_beside(offer: Offer, other: Offer) -> str:
    """The machine, with what tells it from another one of its provider."""
    name = machine(offer)
    if offer.market != other.market or offer.market == "spot":
        name += f" ({offer.market.replace('_', ' ')})"
    return name if name != machine(other) else f"{name} in {offer.region or offer.zone}"


def fewer_tokens(request: Request, part: int) -> str:
    """How to ask for less work: --tokens, or rows of the data where these count."""
    return f"1/{part} of the data" if request.rows else f"--tokens {request.tokens}"


def more_hours(request: Request, needed: int) -> str:
    """The higher ceiling, where it is said: --max-hours only lowers the one of the settings."""
    if request.settings_hours is not None and needed > request.settings_hours:
        return f"`cloudtrain config set max_hours {needed}`"
    return f"--max-hours {needed}"
