"""Google's price list after refreshes in which something goes wrong: every price is the old one, or what Google said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from cloudtrain.pricing import _http

from cloudtrain.prices import folder, table
from cloudtrain.prices.table import Cell, Row, Table
from cloudtrain.simulator.gcp.price_catalogue import BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import Sku
from cloudtrain.simulator.price_faults import ALWAYS, FIGURES, PAGING, TRANSPORT
from tests.prices.answering import DAY, HOUR, START, current, only
from tests.pricing.google_catalogue import SKUS, asked_instead

# One part of a host at eight times its price may leave a sum that is plausible, which nobody can tell from a real one:
# so spot prices rise together here.
SLOW = {"stalled", "dripping"}  # they cost the whole deadline; the source has tests of its own for them
FAULTS = sorted((TRANSPORT | PAGING | FIGURES) - SLOW)
TODAY = "2026-11-30"


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingCatalogue]:
    """A fake catalogue that costs what the shipped list does."""
    monkeypatch.setattr(_http, "sleep", lambda seconds: None)
    with asked_instead(monkeypatch, SKUS, 400) as fake:
        yield fake


def dearer(skus: list[Sku], random: Random) -> list[Sku]:
    """The same SKUs, all chips of a kind and place by some per cent: nothing of it is a jump."""
    return [sku._replace(usd=(sku.usd * random.randint(85, 120) / 100).quantize(Decimal("1e-8"))) for sku in skus]


def seen(row: Row, market: str) -> str:
    """The day of a price."""
    return table.seen_in(row, "spot" if market == "spot" else "on_demand")[0]


def cells(found: Table) -> dict[Cell, tuple[str, str]]:
    """Text and day of every price of a list."""
    return {cell: (row[table.PRICES[cell.market]], seen(row, cell.market)) for cell, row in found.cells}


def campaign(catalogue: BillingCatalogue, place: Path, seed: int, rounds: int) -> None:
    """Refreshes with random faults, each of a list that was renewed the day before."""
    random = Random(seed)
    assert only("gcp").state == "renewed"
    kept = place.with_name("kept")
    shutil.copytree(place, kept)
    before = cells(current("gcp"))
    catalogue.skus = dearer(SKUS, random)
    assert only("gcp", START + DAY, accept_jumps=True, dry_run=False).state == "renewed"
    true = cells(current("gcp"))
    for _ in range(rounds):
        shutil.rmtree(place)
        shutil.copytree(kept, place)
        catalogue.price_faults.clear()
        for name in random.sample(FAULTS, random.choice((1, 1, 2))):
            times = random.choice((1, 1, 2, 5, ALWAYS)) if name != "spot_above_list" else ALWAYS
            catalogue.price_faults.add(name, times)  # type: ignore[arg-type]
        random.shuffle(catalogue.skus)
        outcome = only("gcp", START + DAY + HOUR)
        after = cells(current("gcp"))
        told = f"seed {seed}, {set(catalogue.price_faults.happened)}, {outcome.state}"
        for cell, found in after.items():
            gone = found[0] == "" and found[1] == TODAY
            assert found in (before[cell], (true[cell][0], TODAY)) or gone, f"{told}: {cell} {found}"
        if outcome.state != "renewed":
            assert after == before or outcome.held, told


def test_a_refresh_with_a_fault_makes_no_price_up(catalogue: BillingCatalogue) -> None:
    """Old price and old date, or Google's of today; or none."""
    campaign(catalogue, folder.folder(), 16, 6)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_five_hundred_refreshes_make_no_price_up(catalogue: BillingCatalogue, seed: int) -> None:
    """The same, at length."""
    campaign(catalogue, folder.folder(), seed, 25)
