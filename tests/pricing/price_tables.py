"""What several price tests read: the shipped files, and the offers of one price source."""

from __future__ import annotations

import csv
from pathlib import Path

import cloudtrain.pricing

from cloudtrain.offer import Offer
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
