"""The price of one machine now, as a refresh of its row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import pytest

from cloudtrain.errors import Rejected, Unavailable
from cloudtrain.listings import Answer, Listing, Shape, Unanswered
from cloudtrain.offer import OfferKey
from cloudtrain.prices import one_row
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import catalog
from cloudtrain.runs import live_price
from tests.prices.answering import SOURCE, answer_with

TPU = OfferKey("gcp", "v6e-8", "us-east5", "us-east5-b", "tpu-v6e", 8, "on_demand")


def asked_price(key: OfferKey = TPU) -> Decimal | None:
    """What the provider says of it."""
    return one_row.price(load("pricing", key.provider, PriceSource), key, catalog.shipped())


def test_the_row_is_asked_about_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the letters of its zones and its kind of resource, and for no other row."""
    seen: list[Shape] = []

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        seen.extend(rows)
        yield Listing(*rows[0][:3], "spot", Decimal(9), SOURCE)
        yield Listing(*rows[0][:3], "on_demand", Decimal(21), SOURCE)

    answer_with(monkeypatch, "gcp", answers)
    assert asked_price() == 21
    assert asked_price(TPU._replace(market="spot")) == 9
    (row,) = set(seen)
    assert (row.offer, row.region, row.hardware, row.count, row.api) == ("v6e-8", "us-east5", "tpu-v6e", 8, "tpu")
    assert "b" in row.zones.split()
    assert live_price.ask(TPU) == (Decimal(21), "")


def test_a_machine_without_a_row_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a newer price list no longer has."""
    answer_with(
        monkeypatch, "gcp", lambda rows, s: [Listing(*row[:3], "on_demand", Decimal(3), SOURCE) for row in rows]
    )
    key = TPU._replace(offer="v6e-2", count=2)
    assert asked_price(key) == 3
    assert one_row.row_of(key, catalog.shipped()) == Shape("v6e-2", "us-east5", "us-east5-b", "tpu-v6e", 2, None, None)


@pytest.mark.parametrize("usd", ["700", "0.01", "NaN", "0"])
def test_a_figure_that_is_no_price_is_no_answer(usd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launch is told so, and counts on nothing."""
    answer_with(
        monkeypatch, "gcp", lambda rows, s: [Listing(*row[:3], "on_demand", Decimal(usd), SOURCE) for row in rows]
    )
    with pytest.raises(Unavailable, match="no price"):
        asked_price()
    assert live_price.ask(TPU)[0] is None


def test_no_answer_is_not_a_price_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A region that fails raises; what is not sold is None; two prices are none."""
    answer_with(monkeypatch, "gcp", lambda rows, s: [Unanswered("", Unavailable("no answer"))])
    with pytest.raises(Unavailable, match="no answer"):
        asked_price()
    silent = Unanswered("us-east5", Unavailable("no answer"))
    listed = (Listing(*TPU[1:3], "b", "on_demand", Decimal(21), SOURCE),)
    answer_with(monkeypatch, "gcp", lambda rows, s: [*(each._replace(zones=rows[0].zones) for each in listed), silent])
    assert asked_price() == 21
    answer_with(monkeypatch, "gcp", lambda rows, s: [Listing(*row[:3], "on_demand", None, SOURCE) for row in rows])
    assert asked_price() is None
    two = (Decimal(20), Decimal(22))
    answer_with(monkeypatch, "gcp", lambda rows, s: [Listing(*rows[0][:3], "on_demand", usd, SOURCE) for usd in two])
    with pytest.raises(Unavailable, match="two prices"):
        asked_price()


def test_an_answer_of_another_form_is_the_providers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence, and no traceback."""

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        raise KeyError("skus")

    answer_with(monkeypatch, "gcp", answers)
    with pytest.raises(Rejected, match="KeyError"):
        asked_price()
