"""What Azure asks for its machines now: `GET /api/retail/prices`, a documented list of meters that needs no key.

A machine has several meters in a region: Linux and Windows, on demand, spot, low priority, and those of commitments.
One question for each size, over all its pages, so that nothing moves between two pages of another one. Never asked
live by us; the fields are those of Microsoft's document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.listings import Answer, Listing, Shape, Unlisted
from cloudtrain.offer import Market

from .._http import Door, Pages, Patience, asked_price, is_plain

SOURCE = "Azure retail prices"
CLOCKS_DIFFER = timedelta(hours=1)


class Meter(NamedTuple):
    """A price that has begun: `usd` None for 0, which is not offered."""

    since: datetime
    usd: Decimal | None
    is_usable: bool = True  # not another currency, and a figure


def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What Azure says of each row, under both markets. Raises provider errors."""
    door = Door("Azure", "https://prices.azure.com", "CLOUDTRAIN_AZURE_PRICES_URL", {})
    patience = Patience(seconds)
    for name in dict.fromkeys(row.offer for row in rows):
        items = [item for item in _items(door, name, patience) if _is_machine(item, name)]
        regions = [
            region for region in dict.fromkeys(str(item.get("armRegionName")) for item in items) if is_plain(region)
        ]
        ours = [row for row in rows if row.offer == name]
        for row in ours:
            here = [item for item in items if item.get("armRegionName") == row.region]
            yield from _listings(row, here)
        yield from (Unlisted(name, region) for region in regions if region not in {row.region for row in ours})


def _items(door: Door, name: str, patience: Patience) -> Iterator[Mapping[str, Any]]:
    """Every meter of the size. Raises Unavailable for none at all: that is no answer about a size that we list."""
    asked = f"serviceName eq 'Virtual Machines' and armSkuName eq '{name}' and priceType eq 'Consumption'"
    answer = door.get("/api/retail/prices", patience, **{"$filter": asked})
    pages = Pages(door)
    had: set[str] = set()
    while True:
        items = answer.get("Items")
        if not isinstance(items, list):
            raise door.odd("no prices")
        for item in items:
            if isinstance(item, dict):
                text = repr(sorted(item.items(), key=str))
                if text in had:
                    raise door.odd("a page twice")
                had.add(text)
                yield item
        following = pages.following(answer.get("NextPageLink"))
        if not following:
            break
        answer = door.get(following, patience)
    if not had:
        raise door.odd(f"no prices of {name}")


def _is_machine(item: Mapping[str, Any], name: str) -> bool:
    """Whether a meter is of the size with Linux, by the hour, paid as it is used."""
    words = _words(item)
    return (
        item.get("armSkuName") == name
        and item.get("type") == "Consumption"
        and item.get("unitOfMeasure") == "1 Hour"
        and bool(words)
        and "Windows" not in words
        and "Low Priority" not in words
    )


def _words(item: Mapping[str, Any]) -> str:
    """All that a meter is called; "" where one of its names is missing: what it is for cannot be said then."""
    names = [item.get(name) for name in ("productName", "skuName", "meterName")]
    return " ".join(str(name) for name in names) if all(isinstance(name, str) and name for name in names) else ""


def _listings(row: Shape, items: Sequence[Mapping[str, Any]]) -> Iterator[Listing]:
    """Not sold where a market has no meter in the region; no answer where what its meters say cannot be used.

    The price of now is the newest that has begun: when that one cannot be used, an older one is no price of now.
    """
    markets: tuple[Market, ...] = ("on_demand", "spot")
    for market in markets:
        own = [item for item in items if ("Spot" in _words(item)) == (market == "spot")]
        begun = [meter for item in own if (meter := _meter(item)) is not None]
        newest = {meter[1:] for meter in begun if meter.since == max(each.since for each in begun)}
        usd, is_usable = newest.pop() if len(newest) == 1 else (None, not own)
        if is_usable:
            yield Listing(row.offer, row.region, row.zones, market, usd, SOURCE)


def _meter(item: Mapping[str, Any]) -> Meter | None:
    """None for a price that has not begun."""
    from cloudtrain.settings import now

    try:
        since = datetime.fromisoformat(str(item.get("effectiveStartDate")))
        if since > datetime.fromtimestamp(now(), UTC) + CLOCKS_DIFFER:
            return None
        return Meter(since, asked_price(item.get("retailPrice")), item.get("currencyCode") == "USD")
    except (ValueError, TypeError):
        return Meter(datetime.max.replace(tzinfo=UTC), None, is_usable=False)
