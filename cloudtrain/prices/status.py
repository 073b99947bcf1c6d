"""Of each provider with a price list: how old its prices are by kind, where they come from, how many there are."""

from __future__ import annotations

from typing import NamedTuple


class KindAge(NamedTuple):
    """Days since the newest and since the oldest price of a market was seen."""

    market: str
    youngest: int
    oldest: int
    prices: int


class Status(NamedTuple):
    """One provider's price list."""

    provider: str
    source: str  # shipped | refresh | pull | the folder that CLOUDTRAIN_CATALOG names
    asked_at: float | None  # epoch seconds; None: shipped
    ages: tuple[KindAge, ...]  # on_demand, spot: those that have prices
    rows: int
    priced: int  # rows with a price
    held: int  # new prices that wait
    can_be_asked: bool
    keyless: bool
    credentials: tuple[str, ...]  # environment names of which one lets it be asked
    left_out: str = ""  # why a refreshed list is not read


def status(now: float) -> list[Status]:
    """Every provider that has a price list, by name."""
    raise NotImplementedError
