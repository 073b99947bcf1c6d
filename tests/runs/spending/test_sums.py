"""The sum against the limits: exact, in words that add up, and a refusal where a price is unknown."""

from __future__ import annotations

import math
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.errors import OverBudget
from cloudtrain.records import BudgetsRecord
from cloudtrain.runs.spending import standing, sums, windows
from cloudtrain.runs.spending.standing import Account, Standing
from cloudtrain.settings import zones

NOW = 1_800_000_000.0
MONTH = windows.month(NOW, zones.zone("UTC"))
USD = st.decimals(0, 500, places=4)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """A run: ended at some time, or living."""
    spent = draw(USD)
    if draw(st.booleans()):
        return Account(draw(st.text("abc", min_size=1, max_size=3)), spent, spent + draw(USD), math.inf)
    return Account("ended", spent, spent, draw(st.floats(NOW - 60 * 86400, NOW)))


def stand(limits: BudgetsRecord, *each: Account) -> Standing:
    """Where a state with these runs stands."""
    return standing.summed(limits, each, NOW)


@given(st.lists(accounts(), max_size=12), USD, st.decimals(0, 3000, places=4))
def test_a_run_passes_only_if_the_sum_is_within_limits(each: list[Account], usd: Decimal, limit: Decimal) -> None:
    """Ended in this month: what it cost; living: the most that it may cost; and this one."""
    others = stand(BudgetsRecord(month_usd=limit), *each)
    most = [run.most_usd or Decimal(0) for run in each if run.last >= MONTH.since]
    fits = sum(most, Decimal(0)) + usd <= limit
    if fits:
        sums.refuse(others, usd)
        return
    with pytest.raises(OverBudget) as told:
        sums.refuse(others, usd)
    *parts, total, bound = [
        Decimal(found.replace(",", "")) for found in re.findall(r"\$([\d,.]*\d)", told.value.message)
    ]
    assert abs(sum(parts) - total) <= Decimal("0.03")
    assert total > bound
    if cap := re.search(r"--max-cost ([\d.]+)", told.value.hint):
        sums.refuse(others, Decimal(cap[1]))


def test_the_sum_is_spelled_out() -> None:
    """What was spent, what others may still cost, this one, the total, the limit; and what to do."""
    spent = Account("old", Decimal("119.40"), Decimal("119.40"), NOW)
    living = [Account(name, Decimal("0.50"), Decimal("9.50"), math.inf) for name in ("a", "b")]
    with pytest.raises(OverBudget) as told:
        sums.refuse(stand(BudgetsRecord(month_usd=Decimal(150)), spent, *living), Decimal("14.20"))
    assert told.value.message == (
        "this month: $120.40 spent + $18.00 that 2 living runs may still cost + $14.20 for this one = $152.60, "
        "over the budget of $150.00 a month"
    )
    assert told.value.hint.startswith("`--max-cost 11.60` ends the run within what is left")
    assert told.value.exit_code == 5


def test_an_excess_below_one_cent_is_seen() -> None:
    """$1.00 is not over $1.00."""
    with pytest.raises(OverBudget, match=r"= \$1\.000010, over the budget of \$1\.000000 a week"):
        sums.refuse(stand(BudgetsRecord(week_usd=Decimal(1))), Decimal("1.00001"))


def test_a_run_has_a_limit_of_its_own() -> None:
    """Whatever others cost."""
    limits = BudgetsRecord(run_usd=Decimal(12))
    other = Account("old", Decimal(500), Decimal(500), NOW)
    sums.refuse(stand(limits, other), Decimal(12))
    with pytest.raises(OverBudget, match=r"this run may cost \$14\.20, over the budget of \$12\.00 a run") as told:
        sums.refuse(stand(limits, other), Decimal("14.20"))
    assert "--max-cost 12.00" in told.value.hint


@pytest.mark.parametrize("name", ["run_usd", "week_usd", "month_usd"])
def test_an_unknown_price_counts_as_a_refusal(name: str) -> None:
    """Of the run itself under any limit."""
    with pytest.raises(OverBudget, match="price of this run is unknown"):
        sums.refuse(stand(BudgetsRecord(**{name: Decimal(1000)})), None)


@pytest.mark.parametrize("last", [NOW, math.inf])
def test_another_runs_unknown_cost_refuses_too(last: float) -> None:
    """Ended in the window, or living; one of another month does not matter."""
    limits = BudgetsRecord(month_usd=Decimal(1000))
    with pytest.raises(OverBudget, match="what `odd` cost is unknown") as told:
        sums.refuse(stand(limits, Account("odd", None, None, last)), Decimal(1))
    assert "--month none" in told.value.hint
    sums.refuse(stand(limits, Account("odd", None, None, MONTH.since - 1)), Decimal(1))


def test_a_run_across_the_months_first_counts_whole_in_both() -> None:
    """It ended one second after midnight."""
    limits = BudgetsRecord(month_usd=Decimal(10))
    across = Account("across", Decimal(9), Decimal(9), MONTH.since + 1)
    assert stand(limits, across).month_spent_usd == 9
    before = standing.summed(limits, [across], MONTH.since - 1)
    assert before.month_spent_usd == 9


def test_without_limits_nothing_is_refused() -> None:
    """Neither a sum nor an unknown price."""
    for limits in (None, BudgetsRecord()):
        sums.refuse(standing.summed(limits, [Account("odd", None, None, math.inf)], NOW), None)
