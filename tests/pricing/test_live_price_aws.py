"""EC2 prices asked live: list price by the price list, spot price by zone, nothing where nothing is sold."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain import errors
from cloudtrain.offer import OfferKey
from cloudtrain.prices import one_row
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import catalog
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.clock import Clock

KEY = OfferKey("aws", "trn1.2xlarge", "us-east-1", "use1-az5", "trainium1", 1, "spot")


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    """One server for the file."""
    fake = AwsCloud(Clock(1.8e9))
    yield fake
    fake.stop()


@pytest.fixture
def fake(door: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """A fake AWS that the environment points at."""
    door.reset(Clock(1.8e9))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in door.environment().items():
        monkeypatch.setenv(name, value)
    return door


def live(**more: str) -> Decimal | None:
    return one_row.price(load("pricing", "aws", PriceSource), KEY._replace(**more), catalog.shipped())


@pytest.mark.parametrize(
    ("more", "usd"),
    [
        ({}, "0.1551"),
        ({"zone": "use1-az6"}, "0.1915"),
        ({"zone": "use1-az5 use1-az6"}, "0.1915"),  # one price stands for both: never less than either asks
        ({"zone": ""}, "0.1551"),
        ({"market": "on_demand"}, "1.34375"),
    ],
)
def test_the_price_is_that_of_the_zone_or_the_list(fake: AwsCloud, more: dict[str, str], usd: str) -> None:
    assert live(**more) == Decimal(usd)


def test_what_is_not_sold_has_no_price(fake: AwsCloud) -> None:
    assert live(offer="trn2.48xlarge", region="us-east-2", market="on_demand") is None
    assert live(zone="use1-az1") is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("throttled", errors.Unavailable),
        ("unavailable", errors.Unavailable),
        ("dropped", errors.Unavailable),
        ("permission", errors.Permission),
    ],
)
def test_a_failure_is_told_in_our_words(fake: AwsCloud, kind: Any, expected: type[errors.ProviderError]) -> None:
    fake.faults.add("*", kind, times=99)
    with pytest.raises(expected):
        live()


def test_a_wrong_key_is_missing_credentials(fake: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000")
    with pytest.raises(errors.MissingCredentials, match="InvalidClientTokenId") as error:
        live()
    assert "PLANTED" not in error.value.message
