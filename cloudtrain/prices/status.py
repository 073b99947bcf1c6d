"""Of each provider with a price list: how old its prices are by kind, where they come from, how many there are."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cloudtrain.offer import Offer
from cloudtrain.prices import folder, install, one_row
from cloudtrain.prices.ages import age_days, keeps
from cloudtrain.providers import Context, PriceSource, load, names


class KindAge(NamedTuple):
    """Days since the newest and since the oldest price of a market was seen; how many there are, how many too old."""

    market: str
    youngest: int
    oldest: int
    prices: int
    stale: int  # `up` does not take them unasked


class Status(NamedTuple):
    """One provider's price list."""

    provider: str
    source: str  # shipped | refresh | pull | the folder that CLOUDTRAIN_CATALOG names
    asked_at: float | None  # epoch seconds; None: shipped
    ages: tuple[KindAge, ...]  # one of each market that has prices
    rows: int  # offers: one for each row and market
    priced: int  # of them with a price
    held: int  # new prices that wait for a second answer
    can_be_asked: bool
    keyless: bool
    credentials: tuple[str, ...]  # environment names of which one lets it be asked
    left_out: str = ""  # why a refreshed list is not read


def status(now: float) -> list[Status]:
    """Every provider that has a price list, by name. Raises UsageError for a list that cannot be read."""
    named = os.environ.get("CLOUDTRAIN_CATALOG")
    shipped = folder.shipped_file("").parent
    found = folder.look()
    entries = install.manifest().lists if found.lists else {}
    result = []
    for name in names("pricing"):
        source = load("pricing", name, PriceSource)
        if source.owned:
            continue
        entry = entries.get(name) if name in found.lists else None
        context = Context(Path(named).expanduser() if named else shipped, refreshed=found.lists)
        offers = list(source.offers(context))
        result.append(
            Status(
                name,
                named or ("shipped" if entry is None else entry.source),
                None if entry is None else entry.asked_at,
                _by_kind(offers, now),
                len(offers),
                sum(offer.usd_per_hour is not None for offer in offers),
                0 if entry is None else len(entry.held),
                one_row.can_be_asked(source),
                source.keyless,
                (*source.price_credentials, *source.credentials),
                found.left_out.get(name, ""),
            )
        )
    return result


def _by_kind(offers: Iterable[Offer], now: float) -> tuple[KindAge, ...]:
    days: dict[str, list[tuple[int, int]]] = {}
    for offer in offers:
        last = age_days(offer.price.as_of, now)
        first = age_days(offer.price.since or offer.price.as_of, now)
        if offer.usd_per_hour is not None and last is not None and first is not None:
            days.setdefault(offer.market, []).append((last, first))
    return tuple(
        KindAge(
            market,
            min(last for last, _ in seen),
            max(first for _, first in seen),
            len(seen),
            sum(last > keeps(market).stale for last, _ in seen),
        )
        for market, seen in sorted(days.items())
    )
