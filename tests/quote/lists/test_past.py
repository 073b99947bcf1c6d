"""The course of a price, from what refreshes wrote down."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.listings import Shape
from cloudtrain.offer import Offer, Price
from cloudtrain.prices.records import Change
from cloudtrain.providers import Context
from cloudtrain.quote.lists import past
from tests.price_answers import answering

DAY = 86400.0
UNTIL = 1_795_500_000.0
SINCE = UNTIL - 90 * DAY


def offer(usd: str | None = "3", **fields: Any) -> Offer:
    """A machine whose price was seen on 2026-11-01."""
    price = None if usd is None else Decimal(usd)
    seen = Price("snapshot", "2026-11-01", "a page", "")
    made = Offer("gcp", "v6e-1", "us-east5", "us-east5-b", "tpu-v6e", 1, 1, None, None, "on_demand", price, seen)
    return made._replace(**fields)


def change(days_ago: float, old: str | None, new: str | None, **fields: Any) -> Change:
    """A change of its price."""
    cells = {"offer": "v6e-1", "region": "us-east5", "zones": "b", "market": "on_demand", "source": "skus", **fields}
    was, now = (None if usd is None else Decimal(usd) for usd in (old, new))
    return Change(time=UNTIL - days_ago * DAY, old=was, new=now, **cells)


def test_figures_are_weighted_by_time() -> None:
    """80 days at 2, 10 at 3: the median is 2; before the first change the old price counted."""
    course = past.course(offer(), [change(10, "2", "3")], SINCE, UNTIL)
    assert [step.usd for step in course.steps] == [Decimal(2), Decimal(3)]
    assert (course.lowest, course.median, course.highest) == (Decimal(2), Decimal(2), Decimal(3))
    assert course.points[0] == 2.0
    assert course.points[-1] == 3.0
    assert course.is_written


def test_what_changed_before_the_window_counts_at_its_beginning() -> None:
    """Of several older ones the last."""
    course = past.course(offer(), [change(200, "1", "2"), change(100, "2", "3")], SINCE, UNTIL)
    assert [(step.time, step.usd) for step in course.steps] == [(SINCE, Decimal(3))]


def test_a_time_without_an_offer_has_no_price() -> None:
    """It lowers nothing and is drawn as a gap."""
    changes = [change(80, None, "4"), change(60, "4", None), change(20, None, "5")]
    course = past.course(offer(), changes, SINCE, UNTIL)
    assert (course.lowest, course.highest) == (Decimal(4), Decimal(5))
    assert course.points[0] is None
    assert course.points[10] is None
    assert course.points[-1] == 5.0


def test_without_a_change_nothing_is_known_before_it_was_seen() -> None:
    """No price is drawn for days on which nobody looked."""
    course = past.course(offer(), [], SINCE, UNTIL)
    assert not course.is_written
    assert course.points[0] is None
    assert course.points[-1] == 3.0
    assert past.course(offer(None), [], SINCE, UNTIL).median is None


def test_changes_of_other_prices_are_left_out() -> None:
    """Of another market, zone, region or machine."""
    others: list[dict[str, Any]] = [
        {"market": "spot"},
        {"zones": "c"},
        {"zones": "b c"},
        {"region": "us-east1"},
        {"offer": "v6e-4"},
    ]
    for fields in others:
        assert not past.is_of(change(1, "1", "2", **fields), offer())
    assert past.is_of(change(1, "1", "2"), offer())
    assert past.is_of(change(1, "1", "2", zones="b c"), offer(zone="us-east5-b us-east5-c"))


def test_an_id_names_one_offer_a_machine_all_places() -> None:
    """What is neither gets the nearest that there is."""
    ids = {"gcp/v6e-1/a": offer(), "gcp/v6e-1/b": offer(), "gcp/v6e-4/a": offer(name="v6e-4")}
    assert list(past.named("GCP/v6e-1/b ", ids)) == ["gcp/v6e-1/b"]
    assert list(past.named("V6E-1", ids)) == ["gcp/v6e-1/a", "gcp/v6e-1/b"]
    with pytest.raises(UsageError, match="v6e-9") as wrong:
        past.named("gcp/v6e-9/a", ids)
    assert "gcp/v6e-" in wrong.value.hint


def test_of_several_zones_the_dearest_is_what_was_paid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A row stands for each of its zones; a change that does not move the row is no step."""

    def told(row: Shape, days: int) -> Iterator[tuple[float, str, Decimal]]:
        for ago, zone, usd in ((80, "b", "2"), (60, "c", "3"), (40, "b", "1"), (20, "c", "1.5")):
            yield UNTIL - ago * DAY, zone, Decimal(usd)

    answering(monkeypatch, "gcp", None, past=told)
    spot = offer(market="spot", zone="us-east5-b us-east5-c")
    course = past.asked(spot, Context(tmp_path), SINCE, UNTIL)
    assert [(round((UNTIL - step.time) / DAY), step.usd) for step in course.steps] == [
        (80, Decimal(2)),
        (60, Decimal(3)),
        (20, Decimal("1.5")),
    ]
