"""What is said below a quote's tables of machines of one's own: which software trains there, how a run is started."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING

from cloudtrain.units import gib

if TYPE_CHECKING:
    from cloudtrain.quote.row import Quote, QuoteRow


def notes(quote: Quote, width: int | None) -> Iterator[str]:
    """A paragraph for all boxes of which the same is to be said, wrapped to `width`; None: lines of any length.

    A box on which nothing trains has its reason in the table.
    """
    titles: dict[str, list[str]] = {}
    for line in quote.lines:
        if is_asked(quote, line) and line.assessment.loads != "no trainer":
            titles.setdefault(note(line), []).append(title(line))
    for text, named in titles.items():
        whole = f"yours: {', '.join(named)}: {text}"
        yield ""
        yield from wrap(whole, width, break_long_words=False, break_on_hyphens=False) if width else [whole]


def is_asked(quote: Quote, line: QuoteRow) -> bool:
    """Whether a row is that of a box that --hardware names; of boxes that nobody named the row says enough."""
    offer = line.offer
    if offer.market != "owned" or not offer.limits.by_hand or not quote.request.hardware:
        return False
    return any((box.hardware, box.count, box.memory_bytes) == (offer.hardware, offer.count, offer.memory_bytes)
               for box in quote.request.boxes)  # fmt: skip


def is_this_machine(line: QuoteRow) -> bool:
    """Whether it is the machine that is sat at."""
    return line.offer.market == "owned" and not line.offer.limits.by_hand


def title(line: QuoteRow) -> str:
    """`1 x RX 7900 XTX (24.0 GiB)`, or the cores and memory of a processor."""
    from cloudtrain.cli.quote.table import is_host, machine

    return machine(line) if is_host(line.offer.hardware) else f"{machine(line)} ({gib(line.offer.memory_bytes)})"


def note(line: QuoteRow) -> str:
    """The software for one box, how a run is started on it, and what else is to know about its row."""
    assessment, known = line.assessment, line.offer.note
    software = f"trains with {assessment.software}"
    marked = " (experimental: not run by us)" if assessment.loads == "experimental" else ""
    by_hand = (
        "`cloudtrain up --infra local` on it starts it"
        if assessment.recipe and assessment.recipe.backend == "torch-cpu"
        else "`up` starts nothing on it yet: by hand, with these packages"
    )
    return f"{software}{marked}; {by_hand}.{f' {known[0].upper()}{known[1:]}.' if known else ''}"
