"""What the tests of AWS's refresh share: rows that a fake AWS sells, and the question about them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache

import botocore.loaders
import pytest

from cloudtrain.listings import Answer, Listing, Shape, Unanswered
from cloudtrain.offer import Market
from cloudtrain.providers import PriceSource, load
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.aws.tables import Sold
from cloudtrain.simulator.clock import Clock

CLOCK = 1.8e9
PATIENT = "60,60,0.3,0.005"  # no answer of a fake is late on a busy machine, and nobody waits long before a repeat
HASTY = "0.2,60,0.3,0.005"  # for a fake that never answers
Prices = dict[tuple[str, str, str, Market], Decimal | None]


def point_at(fake: AwsCloud, rows: Sequence[Sold], monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """Reset the fake, let it sell these rows on pages of two, and let the environment lead to it."""
    fake.reset(Clock(CLOCK))
    fake.prices.sold = rows
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", PATIENT)
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(botocore.loaders, "create_loader", _loader)  # EC2's model is read once, not for each test
    return fake


@cache
def _loader(data_path: str | None = None) -> botocore.loaders.Loader:
    return botocore.loaders.Loader()


def sold(
    name: str, region: str, zones: str = "", usd: float | None = 10.0, spot: float | None = 3.0, chip: str = "trainium1"
) -> Sold:
    """A row of what the fake sells."""
    return Sold(name, region, tuple(zones.split()), 8, chip, usd, spot)


def shapes(rows: Sequence[Sold]) -> list[Shape]:
    """What is asked about them."""
    return [Shape(row.type, row.region, " ".join(row.zones), row.hardware, 1, 8, 32.0) for row in rows]


def refreshed(rows: Sequence[Sold], seconds: float = 120.0) -> list[Answer]:
    """What the source says of these rows."""
    ask = load("pricing", "aws", PriceSource).refresh
    assert ask is not None
    return list(ask(shapes(rows), seconds))


def prices(answers: Sequence[Answer]) -> Prices:
    """The prices among the answers, each row and market once."""
    found: Prices = {}
    for each in answers:
        if isinstance(each, Listing):
            key = (each.offer, each.region, each.zones, each.market)
            assert key not in found
            found[key] = each.usd_per_hour
    return found


def unanswered(answers: Sequence[Answer]) -> set[tuple[str, str | None]]:
    """The regions and markets that were not answered for."""
    return {(each.region, each.market) for each in answers if isinstance(each, Unanswered)}


def true_prices(rows: Sequence[Sold]) -> Prices:
    """What must be said of rows of which each type and region has one list price, and one spot price where it is."""
    found: Prices = {}
    for row in rows:
        for market, usd in (("on_demand", row.usd_per_hour), ("spot", row.spot_usd_per_hour)):
            key: tuple[str, str, str, Market] = (row.type, row.region, " ".join(row.zones), market)  # type: ignore[assignment]
            found[key] = None if usd is None else Decimal(str(usd))
    return found
