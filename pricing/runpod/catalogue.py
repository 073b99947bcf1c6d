"""What RunPod asks for its pods now: by its REST API v2 where there is a key, by GraphQL, which needs none, elsewhere.

Of a GPU type the price of one and the stock are taken. Memory is never: RunPod counts it in other units. A spot market
is in neither interface. Never asked live by us; the forms are those of RunPod's documents and of other programs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.errors import MissingCredentials
from cloudtrain.listings import Answer, Listing, Shape, Unlisted

from .._http import Door, Pages, Patience, asked_price, is_plain

REST, GRAPHQL = "RunPod REST v2", "RunPod GraphQL"
# How our rows call NVIDIA's cards, which they keep for comparison; AMD's are called by their id in RunPod's catalogue.
NVIDIA = {
    "RTX 3090": "NVIDIA GeForce RTX 3090",
    "A100 80GB PCIe": "NVIDIA A100 80GB PCIe",
    "A100 SXM": "NVIDIA A100-SXM4-80GB",
    "H100 SXM": "NVIDIA H100 80GB HBM3",
    "H100 PCIe": "NVIDIA H100 PCIe",
}
STOCK = ("none", "low", "medium", "high")
_NOT_THERE = {"availability": "NONE", "dataCenters": None}
_OFFER = re.compile(r"(.+) x(\d+)(?: (secure|community))?")


class Row(NamedTuple):
    """A row of the price list as RunPod calls it: `id` of a GPU type, or of a CPU flavour."""

    shape: Shape
    id: str
    count: int  # type: ignore[assignment]  # shadows tuple.count
    cloud: str  # secure, community
    is_cpu: bool

    @property
    def center(self) -> str:
        """The data centre; "" for a row of any."""
        return "" if self.shape.region in ("", "any") else self.shape.region


def answers(shapes: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What RunPod says of each row; CPU rows have an answer with a key only. Raises provider errors."""
    rows = [found for shape in shapes if (found := _row(shape)) is not None]
    key = os.environ.get("RUNPOD_API_KEY", "").strip()
    if key and not (key.isascii() and key.isprintable()):
        raise MissingCredentials("RUNPOD_API_KEY is no key", "copy it again from RunPod's console")
    patience = Patience(seconds)
    return _by_rest(rows, key, patience) if key else _by_graphql(rows, patience)


def _row(shape: Shape) -> Row | None:
    found = _OFFER.fullmatch(shape.offer)
    if found is None:
        return None
    is_cpu = shape.hardware.startswith("cpu")
    return Row(shape, NVIDIA.get(found[1], found[1]), int(found[2]), found[3] or "secure", is_cpu)


def _by_rest(rows: Sequence[Row], key: str, patience: Patience) -> Iterator[Answer]:
    hint = "make a new key in RunPod's console, one that may read"
    headers = {"Authorization": f"Bearer {key}"}
    door = Door("RunPod", "https://api.runpod.io", "CLOUDTRAIN_RUNPOD_URL", headers, hint)
    counts = sorted({row.count for row in rows if not row.is_cpu})
    with_stock = {"include": "AVAILABILITY", "product": "POD"}
    # What a data centre has depends on how many are asked for; what is sold and for how much does not.
    by_count = {count: _listed(door, "gpus", patience, **with_stock, count=str(count)) for count in counts}
    sold = {name: {**card, **_NOT_THERE} for cards in by_count.values() for name, card in cards.items()}
    for row in rows:
        if not row.is_cpu:
            yield from _of_card(row, by_count[row.count].get(row.id) or sold.get(row.id, {}))
    yield from _unlisted(rows, sold)
    if any(row.is_cpu for row in rows):
        flavours = _listed(door, "cpus", patience, **with_stock)
        for row in rows:
            if row.is_cpu:
                flavour = flavours.get(row.id, {})
                price = _mapping(flavour.get("price")).get("securePerVcpu")
                yield from _listing(row, price, REST, _stock_at(flavour, row.center))


def _listed(door: Door, table: str, patience: Patience, **query: str) -> dict[str, Mapping[str, Any]]:
    """Rows of a table of the catalogue by their ids. It is one document; where it comes in pages all are read."""
    found: dict[str, Mapping[str, Any]] = {}
    pages, more = Pages(door), dict[str, str]()
    while True:
        answer = door.get(f"/v2/catalog/{table}", patience, **query, **more)
        entries, page = answer.get(table), _mapping(answer.get("pagination"))
        if not isinstance(entries, list):
            raise door.odd(f"no `{table}`")
        here = {each["id"]: each for each in entries if isinstance(each, dict) and isinstance(each.get("id"), str)}
        if not found.keys().isdisjoint(here):
            raise door.odd("a page twice")
        found |= here
        cursor = pages.following(page.get("nextCursor")) if page.get("hasNextPage") else ""
        if not cursor:
            break
        more = {"cursor": cursor}
    if not found:
        raise door.odd(f"an empty list of {table}")
    return found


def _of_card(row: Row, card: Mapping[str, Any]) -> Iterator[Listing]:
    """A GPU type of the REST catalogue; an empty one is not in it."""
    most = _mapping(card.get("maxCount")).get(row.cloud)
    is_sold = bool(card.get(row.cloud)) and not (isinstance(most, Decimal) and most < row.count)
    price = _mapping(card.get("price")).get(row.cloud) if is_sold else None
    yield from _listing(row, price, REST, _stock_at(card, row.center))


def _stock_at(entry: Mapping[str, Any], center: str) -> str:
    """The stock of a data centre, or of all; one that is not named where others are has none."""
    centers = entry.get("dataCenters")
    if not center or not isinstance(centers, list):
        return _stock(entry.get("availability"))
    named = [each for each in centers if isinstance(each, dict) and each.get("id") == center]
    return _stock(named[0].get("availability")) if named else "none"


def _by_graphql(rows: Sequence[Row], patience: Patience) -> Iterator[Answer]:
    door = Door("RunPod", "https://api.runpod.io", "CLOUDTRAIN_RUNPOD_URL", {})
    cards = [row for row in rows if not row.is_cpu]
    places = sorted({(row.count, row.center, row.cloud) for row in cards})
    names = {place: f"stock{number}" for number, place in enumerate(places)}
    answer = door.post("/graphql", patience, {"query": _query(names)})
    types = _mapping(answer.get("data")).get("gpuTypes")
    if answer.get("errors") or not isinstance(types, list) or not types:
        raise door.odd("no GPU types")
    found = {entry["id"]: entry for entry in types if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
    for row in cards:
        card = found.get(row.id, {})
        most = card.get("maxGpuCount")
        is_sold = bool(card.get(f"{row.cloud}Cloud")) and not (isinstance(most, Decimal) and most < row.count)
        lowest = _mapping(card.get(names[row.count, row.center, row.cloud]))
        price = card.get(f"{row.cloud}Price") if is_sold else None
        yield from _listing(row, price, GRAPHQL, _stock(lowest.get("stockStatus")))
    yield from _unlisted(cards, found)


def _query(names: Mapping[tuple[int, str, str], str]) -> str:
    """One question for all rows. Without a CUDA version: with one AMD's cards are left out."""
    stocks = []
    for (count, center, cloud), name in names.items():
        place = f', dataCenterId: "{center}"' if re.fullmatch(r"[A-Z0-9-]+", center) else ""
        is_secure = str(cloud == "secure").lower()
        stocks.append(
            f"{name}: lowestPrice(input: {{gpuCount: {count}, secureCloud: {is_secure}{place}}}) {{stockStatus}}"
        )
    fields = "id manufacturer secureCloud communityCloud securePrice communityPrice maxGpuCount"
    return f"query {{ gpuTypes {{ {' '.join([fields, *stocks])} }} }}"


def _listing(row: Row, price: Any, source: str, stock: str) -> Iterator[Listing]:
    """The row's price: that of one, times the count. Nothing for a figure that is none: the row then keeps its own."""
    try:
        usd = asked_price(price)
    except ValueError:
        return
    shape = row.shape
    whole = None if usd is None else usd * row.count
    yield Listing(shape.offer, shape.region, shape.zones, "on_demand", whole, source, stock)


def _unlisted(rows: Iterable[Row], cards: Mapping[str, Mapping[str, Any]]) -> Iterator[Unlisted]:
    """AMD's cards that are sold and in no row."""
    known = {row.id for row in rows}
    for name, card in cards.items():
        is_sold = card.get("secure") or card.get("secureCloud")
        if is_plain(name) and name not in known and is_sold and str(card.get("manufacturer")).upper() == "AMD":
            yield Unlisted(name, "")


def _stock(word: Any) -> str:
    """RunPod's word in ours; nothing there is none, and any other word is not known."""
    if word is None:
        return "none"
    low = str(word).lower()
    return low if low in STOCK else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
