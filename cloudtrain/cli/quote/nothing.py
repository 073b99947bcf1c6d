"""The answer of a quote in which nothing works: why, and the nearest thing that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.cli.quote import owned
from cloudtrain.cli.quote.answer import MOST, WIDTH, continued, header, wrapped
from cloudtrain.quote.answer.start import question
from cloudtrain.quote.called import called
from cloudtrain.quote.remedy.nearest import closest, nearest

if TYPE_CHECKING:
    from cloudtrain.quote.remedy.remedies import Advisor
    from cloudtrain.quote.row import Quote, QuoteRow


def lines(quote: Quote, remedy: Advisor, is_said: bool) -> list[str]:
    """The answer of a quote without a viable row: why, unless that is said elsewhere, and the nearest that works."""
    head, shown = wrapped(header(quote)), []
    first = None if is_said else closest(quote)
    if first is not None:
        shown += wrapped(f"nothing can finish it; closest: {called(first.offer)}: {reasons(first)}")
    for line in quote.lines:
        if line is not first and owned.is_asked(quote, line):
            shown += wrapped(f"yours, {called(line.offer)}: {reasons(line)}")
    works, everywhere = nearest(quote, remedy), quote.request._replace(places=(), hardware=())
    if works is None:
        tail = ["nothing near it works either"]
    elif works.words.startswith("--"):
        tail = [*wrapped(f"what works: {works.text}:"), *continued(question(quote.request, works.words), WIDTH)]
    else:
        tail = wrapped(f"what works: {works.words}: {works.text}")
    if quote.request.hardware or quote.request.places:
        tail += wrapped(f"elsewhere: {question(everywhere)}")
    room = MOST - len(head) - len(tail)
    return [*head, *(shown if len(shown) <= room else [*shown[: room - 1], "... (--table has the rest)"]), *tail]


def reasons(line: QuoteRow) -> str:
    """Why a row is none; each sentence once."""
    return "; ".join(dict.fromkeys("; ".join(line.reasons()).split("; "))) or "nothing trains there"
