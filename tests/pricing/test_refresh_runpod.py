"""RunPod asked for all of its rows: by REST with a key, by GraphQL without, and what neither may make of an answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import cloudtrain.pricing._http
import pytest

from cloudtrain.errors import Rejected, Unavailable
from cloudtrain.listings import Listing, Unlisted
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import RunpodCloud
from tests.pricing.price_tables import asked, said, shapes_of

MI300X = "AMD Instinct MI300X OAM"
WAYS = ("rest", "graphql")


@pytest.fixture(params=WAYS)
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodCloud]:
    """A fake RunPod whose prices are not ours, asked with a key or without; nobody waits before a repeat."""
    cloud = RunpodCloud(Clock(1.79e9))
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    if request.param == "graphql":
        monkeypatch.delenv("RUNPOD_API_KEY")
    cloud.catalog.row("gpus", MI300X)["secure"] = 2.75
    monkeypatch.setattr(cloudtrain.pricing._http, "sleep", lambda seconds: None)
    yield cloud
    cloud.stop()


def truth() -> dict[tuple[str, str, Any], Decimal | None]:
    """What every GPU row costs at this fake; it has three of the six cards that we list."""
    each = {MI300X: Decimal("2.75"), "RTX 3090": Decimal("0.5"), "H100 SXM": Decimal("3.99")}
    found: dict[tuple[str, str, Any], Decimal | None] = {}
    for shape in shapes_of("runpod"):
        card = shape.offer.rpartition(" x")[0]
        if not shape.hardware.startswith("cpu"):
            usd = each.get(card)
            community = Decimal("2.69") if card == "H100 SXM" else None
            one = community if shape.offer.endswith("community") else usd
            found[shape.offer, shape.region, "on_demand"] = one and one * shape.count
    return found


def test_every_row_costs_what_runpod_says_now(cloud: RunpodCloud) -> None:
    """The price of one GPU times the count, and the stock of the row's own data centre; by whom it was said."""
    cloud.catalog.levels["EU-RO-1"] = "HIGH"
    answers = [each for each in asked("runpod") if isinstance(each, Listing)]
    cards = [each for each in answers if not each.offer.startswith("cpu")]
    assert said(cards) == truth()
    assert {each.stock for each in cards if each.offer.startswith(MI300X)} == {"high"}
    by_key = "listGpuTypes" in cloud.calls
    assert {each.source for each in answers} == {"RunPod REST v2" if by_key else "RunPod GraphQL"}
    processors = {each.offer: each.usd_per_hour for each in answers if each.offer.startswith("cpu")}
    assert processors == ({"cpu5c x4": Decimal("0.14"), "cpu5c x8": Decimal("0.28")} if by_key else {})


def test_a_row_without_stock_keeps_a_price(cloud: RunpodCloud) -> None:
    """Sold out in its data centre is no reason to call it unknown; nor is a count of which nobody has so many free."""
    cloud.catalog.levels["EU-RO-1"] = "NONE"
    found = [each for each in asked("runpod") if isinstance(each, Listing) and each.region == "EU-RO-1"]
    found = [each for each in found if not each.offer.startswith("cpu")]
    assert len(found) == 8
    assert {(each.stock, each.usd_per_hour is None) for each in found} == {("none", False)}


def test_more_gpus_than_a_pod_may_have_are_not_sold(cloud: RunpodCloud) -> None:
    """The limit is RunPod's."""
    cloud.catalog.row("gpus", MI300X)["max"] = 2
    prices = said(asked("runpod"))
    assert [prices[f"{MI300X} x{count}", "EU-RO-1", "on_demand"] is None for count in (1, 2, 3, 8)] == [0, 0, 1, 1]


def test_another_card_of_amd_is_named_and_not_added(cloud: RunpodCloud) -> None:
    """NVIDIA's are not: they are for comparison only."""
    row = {**cloud.catalog.row("gpus", MI300X), "id": "AMD Instinct MI350X OAM", "memory": 294}
    cloud.catalog.sold["gpus"].append(row)
    cloud.catalog.sold["gpus"].append({**row, "id": "AMD Instinct MI9 unsold", "secure": 0})
    answers = asked("runpod")
    assert [each for each in answers if isinstance(each, Unlisted)] == [Unlisted("AMD Instinct MI350X OAM", "")]
    assert said(answers).keys() - {(f"cpu5c x{n}", "EU-RO-1", "on_demand") for n in (4, 8)} == truth().keys()


@pytest.mark.parametrize("fault", ["throttled", "empty_page", "other_number"])
def test_a_fault_that_passes_changes_nothing(cloud: RunpodCloud, fault: Any) -> None:
    """Busy for a moment, a page without entries, numbers as text: every price is right."""
    cloud.price_faults.add(fault, times=99 if fault == "other_number" else 1)
    assert truth().items() <= said(asked("runpod")).items()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("throttled", Unavailable),
        ("failing_page", Unavailable),
        ("cut_body", Unavailable),
        ("html", Unavailable),
        ("empty_page", Unavailable),
        ("repeated_page", Unavailable),
        ("repeated_token", Unavailable),
        ("expired_token", Rejected),
        ("stalled", Unavailable),
        ("dripping", Unavailable),
    ],
)
def test_a_lasting_fault_is_an_error_and_ends_soon(cloud: RunpodCloud, fault: Any, error: type[Exception]) -> None:
    """RunPod is named, and nobody is asked without an end. GraphQL has no pages."""
    cloud.price_faults.add(fault)
    if fault in ("empty_page", "repeated_page", "repeated_token", "expired_token") and not by_rest():
        assert said(asked("runpod")) == truth()
        return
    with pytest.raises(error, match="RunPod"):
        asked("runpod", 1.0 if fault in ("stalled", "dripping") else 20.0)
    assert len(cloud.calls) < 20


@pytest.mark.parametrize("fault", ["zero", "missing"])
def test_what_is_not_offered_has_no_price(cloud: RunpodCloud, fault: Any) -> None:
    """0, and a card that is not in the answer: asked, and not sold."""
    cloud.price_faults.add(fault)
    prices = said(asked("runpod"))
    assert {usd for (offer, _, _), usd in prices.items() if offer.startswith(MI300X)} == {None}
    assert all(usd is None or usd == truth()[row] for row, usd in prices.items() if row in truth())


@pytest.mark.parametrize("price", ["cheap", -1, "NaN", "1e999999", [2], {"usd": 2}, True])
def test_a_price_that_is_none_is_no_answer(cloud: RunpodCloud, price: Any) -> None:
    """The row keeps what it had, which is not the same as not being sold."""
    cloud.catalog.row("gpus", MI300X)["secure"] = price
    assert not [offer for offer, _, _ in said(asked("runpod")) if offer.startswith(MI300X)]


def by_rest() -> bool:
    """Whether there is a key."""
    return bool(os.environ.get("RUNPOD_API_KEY"))
