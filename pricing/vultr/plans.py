"""What Vultr asks for its bare metal plans now: `GET /v2/plans-metal`, by pages, without a key.

A plan says whether it is deployed on demand and as preemptible, and where it is to be had; a place is sometimes an
empty text. Memory and chips are those of our rows. Dedicated machines (`vdm`) show where they are to keys only, so
they are no rows. Never asked live by us; the fields are those that other programs read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from cloudtrain.listings import Answer, Listing, Shape, Unlisted
from cloudtrain.offer import Market

from .._http import Door, Pages, Patience, asked_price, is_plain

SOURCE = "Vultr plans-metal"
# Market -> the field that says whether a plan is sold so, and the one with its dollars an hour.
MARKETS: Mapping[Market, tuple[str, str]] = {
    "on_demand": ("deploy_ondemand", "hourly_cost"),
    "spot": ("deploy_preemptible", "hourly_cost_preemptible"),
}
_AMD = re.compile(r"-mi\d{3}[a-z]?-")


def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What Vultr says of each row, under both markets. Raises provider errors."""
    found = _plans(Door("Vultr", "https://api.vultr.com", "CLOUDTRAIN_VULTR_URL", {}), Patience(seconds))
    for row in rows:
        yield from _listings(row, found.get(row.offer, {}))
    known = {row.offer for row in rows}
    yield from (
        Unlisted(name, "")
        for name, plan in found.items()
        if _AMD.search(name) and is_plain(name) and name not in known and _places(plan)
    )


def _plans(door: Door, patience: Patience) -> dict[str, Mapping[str, Any]]:
    """All plans by id, over all pages."""
    found: dict[str, Mapping[str, Any]] = {}
    pages, more = Pages(door), dict[str, str]()
    while True:
        answer = door.get("/v2/plans-metal", patience, per_page="500", **more)
        entries, meta = answer.get("plans_metal"), answer.get("meta")
        links = meta.get("links") if isinstance(meta, dict) else None
        if not isinstance(entries, list) or not isinstance(links, dict):
            raise door.odd("no plans")
        here = {each["id"]: each for each in entries if isinstance(each, dict) and isinstance(each.get("id"), str)}
        if not found.keys().isdisjoint(here):
            raise door.odd("a page twice")
        found |= here
        cursor = pages.following(links.get("next"))
        if not cursor:
            break
        more = {"cursor": cursor}
    if not found:
        raise door.odd("an empty list of plans")
    return found


def _listings(row: Shape, plan: Mapping[str, Any]) -> Iterator[Listing]:
    """An empty plan is not in the list. What is sold in no place is not sold; a figure that is none is no answer."""
    for market, (is_sold, cell) in MARKETS.items():
        sold = bool(_places(plan)) and plan.get(is_sold, market == "on_demand") is True
        try:
            usd = asked_price(plan.get(cell)) if sold else None
        except ValueError:
            continue
        yield Listing(row.offer, row.region, row.zones, market, usd, SOURCE, "" if sold else "none")


def _places(plan: Mapping[str, Any]) -> list[str]:
    places = plan.get("locations")
    return [place for place in places if isinstance(place, str) and place] if isinstance(places, list) else []
