"""What the tests of Google's prices share: the shipped list as a refresh sees it, and the answers by what they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import pytest

from cloudtrain.listings import Answer, Listing, Shape
from cloudtrain.providers import PriceSource, load
from cloudtrain.simulator.gcp.price_catalogue import BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import Sku, of_price_list, with_noise
from tests.pricing.price_tables import SNAPSHOTS, table

ROWS = table(SNAPSHOTS / "gcp.csv")
SKUS = with_noise(of_price_list(ROWS))
SECONDS = 60.0


@contextmanager
def asked_instead(monkeypatch: pytest.MonkeyPatch, skus: Sequence[Sku], page_size: int) -> Iterator[BillingCatalogue]:
    """A fake catalogue in the place of Google's, on 30 November 2026, for a client with its key and nothing else."""
    fake = BillingCatalogue(skus, page_size=page_size)
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "CLOUDTRAIN_SIMULATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_NOW", "2026-11-30T12:00:00Z")
    try:
        yield fake
    finally:
        fake.stop()


def shape(row: dict[str, str]) -> Shape:
    """A row of the list as a refresh asks about it."""
    vcpus = int(row["vcpus"]) if row["vcpus"] else None
    return Shape(
        *(row["offer"], row["region"], row["zones"], row["accelerator"]),
        vcpus if row["accelerator"].startswith("cpu") and vcpus else int(row["accel_count"]),
        *(vcpus, float(row["ram_gib"]) if row["ram_gib"] else None, row["api"]),
    )


SHAPES = [shape(row) for row in ROWS]


def some(*offers: str, region: str = "") -> list[Shape]:
    """The rows of these offers, in a region or in all."""
    return [each for each in SHAPES if each.offer in offers and region in ("", each.region)]


def ask(rows: Iterable[Shape], seconds: float = SECONDS) -> list[Answer]:
    """What Google says of the rows. Raises as the source does."""
    source = load("pricing", "gcp", PriceSource)
    assert source.refresh is not None
    return list(source.refresh(list(rows), seconds))


def prices(answers: Iterable[Answer]) -> dict[tuple[str, str, str, str], Decimal | None]:
    """Dollars by offer, region, zones and market."""
    return {
        (each.offer, each.region, each.zones, each.market): each.usd_per_hour
        for each in answers
        if isinstance(each, Listing)
    }
