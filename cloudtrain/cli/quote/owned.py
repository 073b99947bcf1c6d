"""What is to be said below a quote's tables of machines of one's own: which software trains there, or why none does."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from cloudtrain.cli.quote.table import machine
from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow


def notes(quote: Quote, width: int | None) -> Iterator[str]:
    """A paragraph per box of the request, wrapped to `width`; None: lines of any length."""
    boxes = quote.request.boxes
    kinds = {(box.hardware, box.count, box.memory_bytes) for box in boxes}
    for line in quote.lines:
        offer = line.offer
        if (
            offer.market == "owned"
            and offer.limits.by_hand
            and (offer.hardware, offer.count, offer.memory_bytes) in kinds
        ):
            yield ""
            text = note(line)
            yield from wrap(text, width, subsequent_indent="  ", break_long_words=False) if width else [text]


def note(line: QuoteRow) -> str:
    """The software for one box, what else is to know about its row, and how a run is started on it."""
    offer, assessment = line.offer, line.assessment
    title = f"{machine(line)}{'' if 'vCPU' in offer.name else f', {gib(offer.memory_bytes)}'}, yours"
    if assessment.loads == "no trainer":
        return f"{title}: nothing trains there. {'; '.join(line.reasons())}"
    marked = " (experimental: not run by us)" if assessment.loads == "experimental" else ""
    by_hand = (
        "run `cloudtrain up --infra local` on it"
        if assessment.recipe and assessment.recipe.backend == "torch-cpu"
        else "`up` starts nothing on such a card yet: by hand, with these packages"
    )
    known = f" {offer.note}." if offer.note else ""
    return f"{title}: trains with {assessment.software}{marked}; {by_hand}.{known}"
