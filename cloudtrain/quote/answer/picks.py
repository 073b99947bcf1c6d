"""The few rows of a quote that answer it: cheapest, fastest, owned, free, what `up` takes; and how each is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.quote import ages
from cloudtrain.quote.answer.start import Start, start
from cloudtrain.quote.chips import chips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cloudtrain.quote.answer.start import Here
    from cloudtrain.quote.row import Quote, QuoteRow

ABOUT = 1.25  # of the rows that take at most so much of the least time, the cheapest counts as the fastest
BARELY_USD, BARELY_SHARE, FASTER = 1.0, 1.25, 2.0  # a row that is barely dearer than another, and how much faster


class Picks(NamedTuple):
    """Indices into a quote's lines; None where there is no such viable row. NVIDIA's are never among them."""

    cheapest: int | None
    fastest: int | None
    owned: int | None
    free: int | None
    chosen: int | None  # what `up` takes
    barely_dearer: int | None  # than the chosen one: that `up` can start, and at least twice as fast


class Option(NamedTuple):
    """One row of the answer, with all that it is: field names of Picks, in their order."""

    roles: tuple[str, ...]
    row: int  # its index
    start: Start


class Answer(NamedTuple):
    """What a quote comes to. `options` are in the order of Picks, each row once."""

    picks: Picks
    options: tuple[Option, ...]
    why: str  # `up` takes the chosen one; "" where it takes none
    stale: tuple[str, ...] = ()  # providers of the options whose prices `up` refuses as stale, unless they are renewed


def answer(quote: Quote, here: Here) -> Answer:
    """The answer of a quote for somebody who is at `here`."""
    found = picks(quote)
    roles: dict[int, list[str]] = {}
    for role, index in found._asdict().items():
        if index is not None:
            roles.setdefault(index, []).append(role)
    options = tuple(Option(tuple(names), index, start(quote, index, here)) for index, names in roles.items())
    offers = [quote.lines[option.row].offer for option in options]
    stale = sorted({offer.provider for offer in offers if ages.is_refused(offer, here.now)})
    return Answer(found, options, reason(quote), tuple(stale))


def picks(quote: Quote) -> Picks:
    """The rows of the answer."""
    table = chips()
    viable = [
        (index, line)
        for index, line in enumerate(quote.lines)
        if line.viable and table[line.offer.hardware].vendor != "nvidia"
    ]
    chosen = None if quote.chosen is None else quote.lines[quote.chosen]
    return Picks(
        cheapest=least(viable, by_rank),
        fastest=fastest(viable),
        owned=least(((i, line) for i, line in viable if line.offer.market == "owned"), by_rank),
        free=least(((i, line) for i, line in viable if is_free(line)), by_rank),
        chosen=quote.chosen,
        barely_dearer=None if chosen is None else barely_dearer(viable, chosen, quote.request.experimental),
    )


def least(lines: Iterable[tuple[int, QuoteRow]], key: Callable[[QuoteRow], float]) -> int | None:
    """The index of the line with the least figure, the first of equal ones."""
    return min(((key(line), index) for index, line in lines), default=(0.0, None))[1]


def by_rank(line: QuoteRow) -> float:
    """What rows are sorted by."""
    return line.rank


def waits(lines: Iterable[tuple[int, QuoteRow]]) -> dict[int, float]:
    """Usual hours until it is done, which are known without all samples, once for each kind of machine (by id)."""
    kinds = {id(line.assessment): line.assessment for _, line in lines}
    return {key: assessment.usual_h for key, assessment in kinds.items()}


def is_free(line: QuoteRow) -> bool:
    """Whether nobody is paid for it, the electricity company included."""
    return line.offer.market in ("free", "units") and line.offer.usd_per_hour == 0


def fastest(viable: list[tuple[int, QuoteRow]]) -> int | None:
    """The cheapest of those that take about the least time: the last seconds are never worth a hundred chips."""
    took = waits(viable)
    limit = ABOUT * min(took.values(), default=0.0)
    return least(((index, line) for index, line in viable if took[id(line.assessment)] <= limit), by_rank)


def barely_dearer(viable: list[tuple[int, QuoteRow]], chosen: QuoteRow, experimental: bool) -> int | None:
    """The fastest row that `up` could take instead of the chosen one for little more."""
    most = max(chosen.rank + BARELY_USD, chosen.rank * BARELY_SHARE)
    near = [
        (index, line)
        for index, line in viable
        if line.rank <= most and line.assessment.launch == "yes" and (experimental or line.assessment.loads == "yes")
    ]
    took, limit = waits(near), chosen.assessment.usual_h / FASTER
    return fastest([(index, line) for index, line in near if took[id(line.assessment)] <= limit])


def reason(quote: Quote) -> str:
    """Why `up` takes the chosen row: words that follow its name."""
    if quote.chosen is None:
        return ""
    chosen = quote.lines[quote.chosen]
    before = [line for line in quote.lines if line.viable and line.rank < chosen.rank]
    if not before:
        return "the cheapest"
    able = [line.assessment for line in before if line.assessment.launch == "yes"]
    if any(each.loads == "yes" and each.fits == "tight" for each in able):
        return "cheapest it starts with memory to spare"
    if not quote.request.experimental and any(each.loads == "experimental" for each in able):
        return "cheapest it starts without --experimental"
    return "cheapest it starts"
