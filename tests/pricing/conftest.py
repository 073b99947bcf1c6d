"""What the price tests share: the accelerator table's keys, and a catalogue to break."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import cloudtrain.estimate
from tests.pricing.price_tables import SNAPSHOTS, table


@pytest.fixture(scope="session")
def hardware_keys() -> set[str]:
    """Every key of the accelerator table."""
    return {row["key"] for row in table(Path(cloudtrain.estimate.__file__).parent / "accelerators.csv")}


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[..., Path]:
    """Writes a catalogue of one row, the first of a shipped file with some cells replaced, and gives its folder."""

    def write(provider: str, /, **cells: str) -> Path:
        row = {**table(SNAPSHOTS / f"{provider}.csv")[0], **cells}
        with (tmp_path / f"{provider}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
        return tmp_path

    return write
