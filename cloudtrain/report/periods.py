"""Weeks and months one after the other, with what was spent in each, what may still come, and the budget."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from cloudtrain.report import windows
from cloudtrain.report.history import History
from cloudtrain.report.totals import Totals, by, total


class Period(NamedTuple):
    """A week or month. Of the running one alone: what may still come at the worst, and the limit of today."""

    name: str
    totals: Totals
    open_usd: Decimal | None
    limit_usd: Decimal | None


def periods(history: History, window: windows.Window, most: int) -> list[Period]:
    """The newest periods up to the one that runs now, oldest first, without gaps, from the first one with a run on."""
    sums = dict(by(history, window))
    budget, current = history.budget, windows.begins(window, history.made, history.zone)
    limit = None if budget is None else budget.week_limit_usd if window == "week" else budget.month_limit_usd
    open_usd = None if budget is None else budget.open_usd
    begun = [windows.begins(window, entry.started, history.zone) for entry in history.entries]
    oldest = min((first for first in begun if first is not None), default=None)
    found: list[Period] = []
    first = current
    while first is not None and len(found) < most and (not found or (oldest is not None and first >= oldest)):
        name = windows.title(window, first)
        now = (open_usd, limit) if first == current else (None, None)
        found.append(Period(name, sums.get(name) or total(()), *now))
        first = windows.before(window, first)
    return found[::-1]
