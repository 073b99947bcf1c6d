"""Whether one more run stays within every limit, and the sum in words when it does not."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.errors import OverBudget

if TYPE_CHECKING:
    from cloudtrain.runs.spending.standing import Standing, Window

LOOK = "`cloudtrain budget show` has the sums, `cloudtrain budget set` other limits"


def refuse(others: Standing, usd: Decimal | None) -> None:
    """Raises OverBudget when a run that costs at the most so much is over a limit; None: its price is unknown.

    `others` is where the state stands without it.
    """
    of_a_run = None if others.limits is None else others.limits.run_usd
    if of_a_run is not None:
        if usd is None:
            raise unpriced("a run", of_a_run)
        if usd > of_a_run:
            show = digits(usd, of_a_run)
            raise OverBudget(
                f"this run may cost {show(usd)}, over the budget of {show(of_a_run)} a run", advice(others)
            )
    for window in (others.month, others.week):
        if window.limit_usd is not None:
            refuse_in(window, others, usd, window.limit_usd)


def left_usd(others: Standing) -> Decimal | None:
    """How much one more run may cost within every limit; None where there is none."""
    limits = [] if others.limits is None or others.limits.run_usd is None else [others.limits.run_usd]
    for window in (others.week, others.month):
        if window.limit_usd is not None:
            limits.append(window.limit_usd - window.spent_usd - others.open_usd)
    return min(limits, default=None)


def refuse_in(window: Window, others: Standing, usd: Decimal | None, limit: Decimal) -> None:
    """The same for one week or month."""
    if usd is None:
        raise unpriced(f"a {window.name}", limit)
    if window.unknown:
        raise OverBudget(
            f"this {window.name}: what {named(window.unknown)} cost is unknown, so nobody can say that the budget of "
            f"{cents(limit)} a {window.name} holds",
            f"`cloudtrain report RUN` shows what is known of it; "
            f"`cloudtrain budget set --{window.name} none` starts without this limit",
        )
    total = window.spent_usd + others.open_usd + usd
    if total <= limit:
        return
    show = digits(total, limit)
    parts = [f"{show(window.spent_usd)} spent"]
    if others.living:
        runs = "1 living run" if len(others.living) == 1 else f"{len(others.living)} living runs"
        parts.append(f"{show(others.open_usd)} that {runs} may still cost")
    parts.append(f"{show(usd)} for this one")
    ending = "; `cloudtrain poll --all` or `cloudtrain down` ends what still counts" if others.living else ""
    raise OverBudget(
        f"this {window.name}: {' + '.join(parts)} = {show(total)}, over the budget of {show(limit)} a {window.name}",
        advice(others) + ending,
    )


def unpriced(what: str, limit: Decimal) -> OverBudget:
    """The error about a run of unknown price."""
    return OverBudget(
        f"the price of this run is unknown, so nobody can say that the budget of {cents(limit)} {what} holds",
        "choose a place with a price, with --infra or --hardware",
    )


def advice(others: Standing) -> str:
    """What to do, where the state stands so without this run."""
    left = left_usd(others)
    if left is None or left < Decimal("0.01"):
        return LOOK
    return f"`--max-cost {int(left * 100) / Decimal(100):.2f}` ends the run within what is left; {LOOK}"


def named(runs: tuple[str, ...]) -> str:
    """The first few of these runs."""
    more = "" if len(runs) <= 3 else f" and {len(runs) - 3} more"
    return ", ".join(f"`{run}`" for run in runs[:3]) + more


def cents(amount: Decimal) -> str:
    """Dollars as in an account: always with cents."""
    return f"${amount:,.2f}"


def digits(total: Decimal, limit: Decimal) -> Callable[[Decimal], str]:
    """How dollars of one sum are shown: with so many places that what is over the limit is seen to be."""
    places = 2 if cents(total) != cents(limit) else 6
    return lambda amount: f"${amount:,.{places}f}"
