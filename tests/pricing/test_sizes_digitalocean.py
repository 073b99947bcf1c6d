"""What DigitalOcean's list of sizes says of our rows: prices and places of now, never a list that is not whole."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import cloudtrain.pricing._http
import pytest
from cloudtrain.pricing import SNAPSHOTS

from cloudtrain.errors import MissingCredentials, ProviderError, Unavailable
from cloudtrain.listings import Answer, Listing, Shape, Unlisted
from cloudtrain.offer import OfferKey
from cloudtrain.prices import one_row
from cloudtrain.providers import PriceSource, load
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean import DigitaloceanCloud
from cloudtrain.simulator.http_server import Reply, Request
from tests.pricing.price_tables import offers_of

SPOT, LISTED = "gpu-mi350x1-288gb-spot", "gpu-mi325x1-256gb"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[DigitaloceanCloud]:
    """A fake DigitalOcean that the environment points at."""
    fake = DigitaloceanCloud(Clock(1.79e9))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloudtrain.pricing._http, "sleep", lambda seconds: None)  # before a repeat
    yield fake
    fake.stop()


def asked() -> list[Answer]:
    """A refresh of every row of the price list."""
    source = load("pricing", "digitalocean", PriceSource)
    assert source.refresh is not None
    rows = [Shape(o.name, o.region, o.zone, o.hardware, o.count, o.vcpus, None, "") for o in offers_of("digitalocean")]
    return list(source.refresh(rows, 30.0))


def prices() -> dict[tuple[str, str, str], Decimal | None]:
    return {(a.offer, a.region, a.market): a.usd_per_hour for a in asked() if isinstance(a, Listing)}


def test_every_row_is_answered_over_all_pages(fake: DigitaloceanCloud) -> None:
    """With today's price, and none for what has no region."""
    fake.sizes[SPOT]["price_hourly"] = 3.21
    assert prices() == {
        (LISTED, "tor1", "on_demand"): Decimal("3.8"),
        (LISTED, "nyc2", "on_demand"): Decimal("3.8"),
        (SPOT, "ric1", "spot"): Decimal("3.21"),
        ("gpu-mi355x1-288gb-spot", "mem1", "spot"): Decimal("2.97"),
        ("gpu-mi300x1-192gb", "", "on_demand"): None,
    }
    assert fake.calls.count("listSizes") == 4


@pytest.mark.parametrize("change", [{"regions": []}, {"available": False}, {"regions": ["tor1"]}, {"price_hourly": 0}])
def test_what_is_not_to_be_had_has_no_price(fake: DigitaloceanCloud, change: dict[str, Any]) -> None:
    fake.sizes[SPOT] |= change
    assert prices()[SPOT, "ric1", "spot"] is None


@pytest.mark.parametrize("price", ["two", -1, True, [2.46]])
def test_what_is_no_figure_is_no_answer(fake: DigitaloceanCloud, price: Any) -> None:
    """The row keeps what it had; the others are answered."""
    fake.sizes[SPOT]["price_hourly"] = price
    found = prices()
    assert (len(found), (SPOT, "ric1", "spot") in found) == (4, False)


def test_a_size_that_an_account_lacks_is_not_sold(fake: DigitaloceanCloud) -> None:
    del fake.sizes[SPOT]
    assert prices()[SPOT, "ric1", "spot"] is None


def test_other_sizes_and_places_of_amd_are_named(fake: DigitaloceanCloud) -> None:
    """Not those of NVIDIA, nor what is sold on contract."""
    fake.sizes["gpu-mi350x1-288gb-contracted"] = {**fake.sizes[SPOT], "slug": "gpu-mi350x1-288gb-contracted"}
    fake.sizes[SPOT]["regions"] = ["ric1", "atl1"]
    unlisted = [each for each in asked() if isinstance(each, Unlisted)]
    assert unlisted == [Unlisted("gpu-mi325x8-2048gb", "tor1"), Unlisted(SPOT, "atl1")]


def garbled(fake: DigitaloceanCloud, change: Any) -> None:
    """From now on every answer is what `change` makes of it."""
    answer = fake.answer

    def other(request: Request) -> Reply | None:
        reply = answer(request)
        return None if reply is None else change(request, reply)

    fake.answer = other  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [
        lambda request, reply: Reply(200, b"<html>"),
        lambda request, reply: Reply(200, b'{"sizes": {}}'),
        lambda request, reply: Reply(200, b'{"sizes": [{"price_hourly": 1}], "meta": {"total": 1}}'),
        lambda request, reply: Reply(200, b'{"sizes": [], "meta": {"total": 7}}'),
        lambda request, reply: reply._replace(body=reply.body.replace(b'"total": 7', b'"total": 8')),
        lambda request, reply: reply._replace(body=reply.body.replace(b"page=3", b"page=1")),
        lambda request, reply: reply._replace(body=reply.body.replace(b"http://127.0.0.1", b"http://127.0.0.2")),
        lambda request, reply: Reply(500) if request.query.get("page") == ["3"] else reply,
    ],
    ids=["html", "no list", "no slug", "nothing of seven", "one is missing", "repeated page", "elsewhere", "500 on 3"],
)
def test_a_list_that_is_not_whole_is_no_list(fake: DigitaloceanCloud, change: Any) -> None:
    """Nothing is taken from it, not even what came first."""
    garbled(fake, change)
    with pytest.raises(Unavailable):
        asked()


def test_without_a_token_it_says_which_variable(fake: DigitaloceanCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITALOCEAN_TOKEN")
    with pytest.raises(MissingCredentials, match="DIGITALOCEAN_TOKEN"):
        asked()


def test_a_token_that_has_ended_is_a_missing_one(fake: DigitaloceanCloud) -> None:
    fake.token_ends = 0.0
    with pytest.raises(ProviderError) as raised:
        asked()
    assert raised.value.exit_code == 4


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        ({}, Decimal("2.46")),
        ({"market": "on_demand"}, None),
        ({"region": "tor1"}, None),
        ({"offer": "gpu-mi300x1-192gb", "region": "", "market": "on_demand"}, None),
    ],
)
def test_the_price_of_now_is_a_refresh_of_one_row(
    fake: DigitaloceanCloud, changes: dict[str, Any], usd: Decimal | None
) -> None:
    key = OfferKey("digitalocean", SPOT, "ric1", "", "mi350x", 1, "spot")._replace(**changes)
    assert one_row.price(load("pricing", "digitalocean", PriceSource), key, SNAPSHOTS) == usd
