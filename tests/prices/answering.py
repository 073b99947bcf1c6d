"""A provider that answers for its rows as a test wants it, in the place of the real one; the shipped list stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from importlib import import_module

import pytest

from cloudtrain.listings import Answer, Listing, Shape
from cloudtrain.offer import Market
from cloudtrain.prices import folder, table
from cloudtrain.prices.refresh import Outcome, refresh
from cloudtrain.prices.table import Cell, Table
from cloudtrain.providers import PriceSource, load

START = 1795953600.0  # 2026-11-29T12:00:00Z
HOUR, DAY = 3600.0, 86400.0
Answers = Callable[[Sequence[Shape], float], Iterable[Answer]]
SOURCE = "asked by a test"


def answer_with(monkeypatch: pytest.MonkeyPatch, name: str, answers: Answers, keyless: bool = True) -> None:
    """Let the provider's source answer so."""
    source = load("pricing", name, PriceSource)._replace(refresh=answers, keyless=keyless)
    monkeypatch.setattr(import_module(f"cloudtrain.pricing.{name}"), "provider", source)


def shipped(name: str) -> Table:
    """The list that the package brings."""
    return table.parse(folder.shipped_file(name).read_bytes(), name)


def current(name: str) -> Table:
    """The list that a quote reads."""
    place = folder.refreshed().get(name)
    return shipped(name) if place is None else table.parse((place / f"{name}.csv").read_bytes(), name)


def prices(found: Table) -> dict[Cell, Decimal]:
    """Every price of a list."""
    known = ((cell, table.price_in(row, cell.market)) for cell, row in found.cells)
    return {cell: usd for cell, usd in known if usd is not None}


def listings(wanted: dict[Cell, Decimal | None]) -> list[Answer]:
    """Answers with these prices."""
    return [Listing(*cell, usd, SOURCE) for cell, usd in wanted.items()]


def same(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What the shipped list of the asked rows says, once more."""
    wanted = {row[:3] for row in rows}
    for name in ("aws", "gcp", "runpod"):
        yield from listings({cell: usd for cell, usd in prices(shipped(name)).items() if cell[:3] in wanted})


def times(factor: str, which: Callable[[Cell], bool] = lambda cell: True) -> Answers:
    """The same, those prices times a factor."""

    def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
        for answer in same(rows, seconds):
            assert isinstance(answer, Listing)
            assert answer.usd_per_hour is not None
            hit = which(Cell(*answer[:4]))
            yield answer._replace(usd_per_hour=answer.usd_per_hour * Decimal(factor)) if hit else answer

    return answers


def only(name: str, now: float = START, **options: bool | float) -> Outcome:
    """Refresh one provider."""
    (outcome,) = refresh([name], now=now, **options)  # type: ignore[arg-type]
    return outcome


def a_cell(name: str, market: Market = "on_demand", number: int = 0) -> Cell:
    """A price of the shipped list."""
    return [cell for cell in prices(shipped(name)) if cell.market == market][number]
