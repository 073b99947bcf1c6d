"""What several price tests read: the shipped files, and the offers of one price source."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import cloudtrain.pricing

from cloudtrain.listings import Answer, Listing, Shape
from cloudtrain.offer import Market, Offer
from cloudtrain.providers import Context, PriceSource, load

HERE = Path(__file__).parent
SNAPSHOTS: Path = cloudtrain.pricing.SNAPSHOTS


def offers_of(name: str, catalog: Path = SNAPSHOTS) -> list[Offer]:
    """The offers of one price source."""
    return list(load("pricing", name, PriceSource).offers(Context(catalog)))


def table(path: Path) -> list[dict[str, str]]:
    """A CSV file as one dictionary a row."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shapes_of(name: str) -> list[Shape]:
    """What a refresh asks the provider about: the rows of the shipped list, without their prices."""
    return [
        Shape(
            row["offer"],
            row["region"],
            row["zones"],
            row["accelerator"],
            int((row["vcpus"] if row["accelerator"].startswith("cpu") else row["accel_count"]) or 0),
            int(row["vcpus"]) if row["vcpus"] else None,
            float(row["ram_gib"]) if row["ram_gib"] else None,
        )
        for row in table(SNAPSHOTS / f"{name}.csv")
    ]


def asked(name: str, seconds: float = 20.0, shapes: Sequence[Shape] | None = None) -> list[Answer]:
    """All that the provider answers about its shipped rows, or about these."""
    refresh = load("pricing", name, PriceSource).refresh
    assert refresh is not None
    return list(refresh(shapes_of(name) if shapes is None else shapes, seconds))


def said(answers: Iterable[Answer]) -> dict[tuple[str, str, Market], Decimal | None]:
    """The prices of the answers, by offer, region and market; one of them each."""
    found = [each for each in answers if isinstance(each, Listing)]
    prices = {(each.offer, each.region, each.market): each.usd_per_hour for each in found}
    assert len(prices) == len(found)
    return prices
