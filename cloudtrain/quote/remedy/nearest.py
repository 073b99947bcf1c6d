"""Of a quote in which nothing works: the row that comes closest, and the cheapest change with which something does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.quote.called import called
from cloudtrain.quote.remedy.remedies import caveat, cost_text

if TYPE_CHECKING:
    from cloudtrain.quote.remedy.remedies import Advisor, Change
    from cloudtrain.quote.row import Quote, QuoteRow


class Nearest(NamedTuple):
    """What to ask for instead, as options or in words, and in a sentence what that comes to."""

    words: str
    text: str


def nearest(quote: Quote, remedy: Advisor) -> Nearest | None:
    """The cheapest change that makes any of the lines work, one that `up` can start before any other."""
    kinds = {id(line.assessment): line for line in reversed(quote.lines)}
    found = [change for line in kinds.values() for change in changes(remedy, line)]
    if not found:
        return None
    best = min(found, key=lambda change: (change.row.assessment.launch != "yes", change.row.rank))
    return Nearest(best.words, f"{called(best.row.offer)} for {cost_text(best.row)}{caveat(best.row)}")


def changes(remedy: Advisor, line: QuoteRow) -> list[Change]:
    """What would make a line work, as far as that is known."""
    if not line.priced or line.assessment.clock is None or line.offer.limits.barred:
        return []
    return list(remedy.smaller_jobs(line)) or list(remedy.last_resorts(line))[:1]


def closest(quote: Quote) -> QuoteRow | None:
    """The line of which the least is wrong; of several the cheapest."""
    return min(quote.lines, key=lambda line: (line.failures, line.rank), default=None)
