"""The rest of a run by its own rate: what the machine says of its steps, what the quote says of all else, dollars."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.models import registry
from cloudtrain.plan import Plan
from cloudtrain.providers import Context
from cloudtrain.quote import catalog, engine
from cloudtrain.quote.request import Request
from cloudtrain.records import Bounds, CostPartRecord, UsdBounds
from cloudtrain.runs.results import remaining
from cloudtrain.runs.results.remaining import Done, Limits
from tests.records import row

HOUR = 3600.0
LIMITS = Limits(None, 1e9)
PLAN = Plan("r", "i", "aws", "cpu", row(), {}, "", "0", 9e4, "the test", (), 1.0)


def pace_of(step_s: Sequence[float], of: int, saves: dict[int, float] | None = None) -> Any:
    """What a supervisor has learnt from steps of so many seconds; after a step a save may be made."""
    pace, at = import_module("cloudtrain.templates.supervisor.supervisor").Pace(), 1000.0
    for step, seconds in enumerate(step_s, 1):
        at += seconds
        pace.take({"event": "step", "step": step, "of": of, "time": at})
        if saves and step in saves:
            at += saves[step]
            pace.take({"event": "checkpoint", "step": step, "seconds": saves[step], "time": at})
    return pace


def left_s(step_s: Sequence[float], of: int) -> list[float]:
    """The seconds that are left."""
    found = pace_of(step_s, of).left_s()
    assert found is not None
    return list(found)


def spot_row(**changes: Any) -> Any:
    """$2 an hour, a disk for 10 cents an hour; a tenth of the steps' time for interruptions, an hour for the result."""
    parts = {
        "boot": Bounds(low=60.0, likely=60.0, high=60.0),
        "steps": Bounds(low=5 * HOUR, likely=10 * HOUR, high=20 * HOUR),
        "interruptions": Bounds(low=0.0, likely=HOUR, high=10 * HOUR),
        "result": Bounds(low=0.5 * HOUR, likely=HOUR, high=2 * HOUR),
        "wait again": Bounds(low=0.0, likely=HOUR, high=9 * HOUR),
    }
    costs = (
        CostPartRecord(name="compute", quantity=Decimal(12), unit="hours", unit_usd=Decimal(2)),
        CostPartRecord(name="disk", quantity=Decimal(1200), unit="GB-hours", unit_usd=Decimal("0.001")),
        CostPartRecord(name="egress", quantity=Decimal(5), unit="GB", unit_usd=Decimal("0.1")),
    )
    total = UsdBounds(low=Decimal(10), likely=Decimal(24), high=Decimal(60))
    usual = {"price_usd_per_hour": Decimal(2), "time_parts_s": parts, "cost_parts": costs, "total_usd": total}
    return row(**{**usual, **changes})


def test_nothing_is_told_before_fifty_steps_or_five_minutes() -> None:
    """Whichever comes first."""
    assert pace_of([0.1] * 49, 1000).left_s() is None
    assert pace_of([0.1] * 50, 1000).left_s() is not None
    assert pace_of([100.0] * 3, 1000).left_s() is None
    assert pace_of([100.0] * 4, 1000).left_s() is not None


def test_equal_steps_leave_little_doubt() -> None:
    """A twentieth: nobody knows who will come to the machine."""
    assert left_s([2.0] * 100, 600) == pytest.approx([950.0, 1000.0, 1050.0])


def outside(noise: float, wander: float) -> tuple[float, float]:
    """Of 300 runs of 600 steps, the shares that end before and after what was told at step 100."""
    chance, early, late = random.Random(8), 0, 0
    for _ in range(300):
        load, steps = 0.0, []
        for _ in range(600):
            load = 0.95 * load + chance.gauss(0, wander)  # the neighbours come and go
            steps.append(math.exp(load) * chance.lognormvariate(0, noise))
        low, _, high = left_s(steps[:100], 600)
        early, late = early + (sum(steps[100:]) < low), late + (sum(steps[100:]) > high)
    return early / 300, late / 300


@pytest.mark.parametrize(("noise", "wander"), [(0.5, 0.0), (0.02, 0.0), (0.05, 0.05), (0.3, 0.03)])
def test_one_run_in_ten_lies_on_either_side(noise: float, wander: float) -> None:
    """With steps of every length, on a machine of its own and on one with neighbours; an eighth for chance."""
    assert max(outside(noise, wander)) <= 0.125


def test_a_run_that_slows_down_is_seen_at_once() -> None:
    """The newest stretches are within the range, even where there are few of them among many."""
    assert left_s([1.0] * 96 + [3.0] * 32, 328)[2] >= 200 * 2.9
    assert left_s([1.0] * 450 + [3.0] * 62, 1512)[2] >= 1000 * 2.9


def test_long_blocks_of_slow_steps_do_not_even_out() -> None:
    """Ten blocks of fast and slow steps leave more doubt than the same steps in turn, and five single ones most."""
    blocks, turns = [1.0] * 30 + [2.0] * 30, [1.0, 2.0] * 30
    one, other = (left_s([*each, *each], 1120) for each in (blocks, turns))
    assert one[2] - one[0] > 3 * (other[2] - other[0])
    assert other[2] - other[0] == pytest.approx(1000 * 1.5 * 0.1, rel=0.3)
    few = left_s([100.0, 200.0, 100.0, 200.0, 100.0], 1005)
    assert few[2] > 1000 * 200.0


def test_saves_are_no_steps() -> None:
    """A save of 1000 s between two steps leaves their pace as it is."""
    plain, saved = pace_of([1.0] * 60, 100), pace_of([1.0] * 60, 100, {10: 1000.0, 30: 500.0})
    assert saved.left_s() == plain.left_s()


def test_a_million_steps_need_no_more_room_than_a_hundred() -> None:
    pace = pace_of([0.01] * 20_000, 10**6)
    assert len(pace.stretches) <= pace.MOST
    assert min(each[0] for each in pace.stretches[:-1]) == max(each[0] for each in pace.stretches[:-1]) == pace.each
    assert pace.left_s()[1] == pytest.approx(9800.0, rel=0.001)


def test_lines_of_no_shape_are_passed_over() -> None:
    """Steps without a time, backwards, or no numbers at all."""
    pace = pace_of([1.0] * 10, 100)
    for odd in ({"step": "x"}, {"step": True}, {"step": float("nan")}, {"step": -1}, {"step": 5, "of": None}, {}):
        pace.take({"event": "step", "time": 2e9, "of": 100, **odd})
    pace.take({"event": "checkpoint", "seconds": "long"})
    assert (sum(each[0] for each in pace.stretches), pace.saving_s) == (9, 0.0)


@given(
    st.lists(st.floats(0.01, 1000.0), min_size=60, max_size=200),
    st.floats(1.0, 50.0),
    st.integers(0, 10**6),
)
def test_slower_steps_never_leave_less(steps: list[float], factor: float, more: int) -> None:
    """The same steps, each so many times as long."""
    of = len(steps) + more
    faster, slower = left_s(steps, of), left_s([factor * each for each in steps], of)
    assert faster == sorted(faster)
    assert all(a <= b * (1 + 1e-6) + 1e-2 for a, b in zip(faster, slower, strict=True))


seconds = st.floats(0.0, 1e8)


@given(st.tuples(seconds, seconds, seconds), seconds, st.floats(1.0, 100.0), st.decimals(0, 1000, places=2))
def test_the_total_is_never_below_what_was_spent(
    left: tuple[float, float, float], done_s: float, factor: float, spent: Decimal
) -> None:
    """And slower steps never make it less."""
    quoted = spot_row()
    now = remaining.remaining(left, quoted, Done(done_s, spent), LIMITS)
    slower = remaining.remaining((*(factor * each for each in left),), quoted, Done(done_s, spent), LIMITS)  # type: ignore[arg-type]
    assert now.usd is not None
    assert slower.usd is not None
    assert list(now.usd) == sorted(now.usd)
    assert now.usd.low >= spent
    assert now.hours.low >= done_s / HOUR
    assert all(a <= b for a, b in zip(now.usd, slower.usd, strict=True))
    assert all(a <= b for a, b in zip(now.left_h, slower.left_h, strict=True))


def test_what_steps_do_not_show_stays_as_it_was_quoted() -> None:
    """Interruptions go with the steps, the result comes after them, boot is over, waiting is not billed."""
    found = remaining.remaining((HOUR, 2 * HOUR, 4 * HOUR), spot_row(), Done(HOUR, Decimal(2)), LIMITS)
    assert found.left_h == pytest.approx((1.5, 2 * 1.1 + 1, 4 * 1.5 + 2))
    assert found.hours == pytest.approx((2.5, 4.2, 9.0))
    assert found.usd is not None
    hourly, fixed = Decimal("2.1"), Decimal(2) + Decimal("0.1") + Decimal("0.5")
    assert [round(float(each), 6) for each in found.usd] == pytest.approx(
        [float(fixed + hourly * Decimal(each)) for each in (1.5, 3.2, 8.0)]
    )


def test_an_unknown_price_makes_no_dollars() -> None:
    """Nor does one of a disk."""
    left = (HOUR, HOUR, HOUR)
    unknown = CostPartRecord(name="disk", quantity=Decimal(1), unit="GB-hours", unit_usd=None)
    for quoted in (spot_row(price_usd_per_hour=None), spot_row(cost_parts=(unknown,))):
        found = remaining.remaining(left, quoted, Done(HOUR, Decimal(2)), Limits(Decimal(1), 1.0))
        assert (found.usd, found.above_cap, found.late) == (None, False, True)
        assert "$" not in found.describe().partition(", quoted")[0]


def test_the_worst_case_above_the_cap_is_told() -> None:
    """The likely one decides about the deadline."""
    found = remaining.remaining((HOUR, 2 * HOUR, 4 * HOUR), spot_row(), Done(0.0, Decimal(0)), Limits(Decimal(17), 4e4))
    assert found.usd is not None
    assert found.usd.likely < 17 < found.usd.high
    assert (found.above_cap, found.late) == (True, False)
    (told,) = found.warnings()
    assert "the cap is $17" in told
    assert "--max-cost" in told
    late = remaining.remaining((HOUR, 2 * HOUR, 4 * HOUR), spot_row(), Done(0.0, Decimal(0)), Limits(None, 2 * HOUR))
    (told,) = late.warnings()
    assert told.startswith("will not finish before its deadline in 2.0 h: needs 3.2 h")
    assert "--max-hours" in told


def test_it_is_told_in_one_line() -> None:
    found = remaining.remaining((HOUR, 2 * HOUR, 4 * HOUR), spot_row(), Done(HOUR, Decimal(2)), LIMITS)
    assert found.describe() == (
        "rest quoted from its own rate: 3.2 h (1.5 h .. 8.0 h), $9.32 in all ($5.75 .. $19.40), quoted $24.00"
    )


def test_it_is_told_again_only_when_it_is_news() -> None:
    first = remaining.remaining((HOUR, 2 * HOUR, 4 * HOUR), spot_row(), Done(0.0, Decimal(0)), LIMITS)
    same = remaining.remaining((HOUR, 2.5 * HOUR, 3 * HOUR), spot_row(), Done(0.0, Decimal(0)), LIMITS)
    longer = remaining.remaining((9 * HOUR, 10 * HOUR, 11 * HOUR), spot_row(), Done(0.0, Decimal(0)), LIMITS)
    late = remaining.remaining((HOUR, 2.5 * HOUR, 3 * HOUR), spot_row(), Done(0.0, Decimal(0)), Limits(None, HOUR))
    assert remaining.is_news(None, first)
    assert not remaining.is_news(first, same)
    assert remaining.is_news(first, longer)
    assert remaining.is_news(first, late)


def test_the_orders_are_the_quotes_worst_and_set_traffic_aside() -> None:
    """Of $2.10 an hour 50 cents for the result's traffic are a quarter of an hour, nearly."""
    plan = replace(PLAN, line=spot_row(), deadline=9e4, cap_at=8e4, stop_above_cap=True)
    assert remaining.orders(plan) == {
        **{"along": 0.5, "after_s": 2 * HOUR, "ends_at": 9e4, "stop_above_cap": True},
        "cap_at": pytest.approx(8e4 - 0.5 / 2.1 * HOUR),
    }
    assert "cap_at" not in remaining.orders(replace(plan, cap_at=None))
    assert remaining.orders(replace(plan, run_deadline=9.5e4))["ends_at"] == 9.5e4


def test_every_stretch_of_a_quote_has_its_place() -> None:
    """By the names that quotes of machines of every kind have; a new one is put somewhere on purpose."""
    request = Request(registry.find("longcat-flash"), "qlora", tokens=10**8)
    lines = engine.quote(request, Context(catalog.folder())).lines
    names = {part.name for line in lines for part in line.assessment.time_parts}
    assert {"steps", "result", "boot", "interruptions", "wait", "wait again"} <= names
    along = names - {*remaining.BEFORE, *remaining.STEPPING, *remaining.AFTER}
    assert along <= {"checkpoints", "interruptions"}
