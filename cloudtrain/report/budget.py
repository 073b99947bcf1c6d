"""What may be spent, what is spent, and what may still be spent by what runs: the budget as a report shows it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import DamagedRecord

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store


class Budget(NamedTuple):
    """Limits of the running week and month in dollars (None: no limit), and how much of each is used.

    `open_usd` is what living runs may still cost at the worst, in addition to what is spent.
    """

    week_limit_usd: Decimal | None
    month_limit_usd: Decimal | None
    week_spent_usd: Decimal
    month_spent_usd: Decimal
    open_usd: Decimal
    unpriced: int  # runs whose price is unknown, which are in none of these
    timezone: str


def budget_of(store: Store, now: float) -> tuple[Budget | None, str]:
    """The budget of a state and how it stands, None where none is set; and a sentence about one that cannot be read."""
    from cloudtrain.records import BudgetsRecord
    from cloudtrain.state.store import read_record

    try:
        limits = read_record(store, "budgets.json", BudgetsRecord)
    except DamagedRecord as damaged:
        return None, damaged.message
    if limits is None:
        return None, ""
    nothing = Decimal(0)
    return Budget(limits.week_usd, limits.month_usd, nothing, nothing, nothing, 0, limits.timezone), ""
