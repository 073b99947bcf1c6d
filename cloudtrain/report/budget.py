"""What may be spent, what is spent, and what may still be spent by what runs: the budget as a report shows it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.runs.spending.budget import read
from cloudtrain.runs.spending.standing import standing

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


def budget_of(store: Store, now: float) -> tuple[Budget | None, str]:
    """The budget of a state and how it stands, its limits None where none are set; None and a sentence where it or
    what is reserved cannot be read.
    """
    try:
        found = standing(store, now)
    except UsageError as error:
        return None, error.message
    limits = found.limits
    return Budget(
        None if limits is None else limits.week_usd,
        None if limits is None else limits.month_usd,
        found.week_spent_usd,
        found.month_spent_usd,
        found.open_usd,
        len(found.unknown),
    ), ""


def timezone_of(store: Store) -> tuple[str, str]:
    """The time zone in which weeks and months begin; UTC and a sentence where the limits cannot be read."""
    try:
        limits = read(store)
    except UsageError as error:
        return "UTC", error.message
    return ("UTC" if limits is None else limits.timezone), ""
