"""What Hot Aisle asks for its machines now: the list of those that are free, which a team's token may read.

Prices are in cents, of the whole machine. What is in the list is free; what is not is taken or not sold, and no price
of it is to be had. Chips and memory are those of our rows. Never asked live by us; the fields are those that other
programs read, and that a price is of the whole machine is what they take it for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from cloudtrain.errors import MissingCredentials
from cloudtrain.listings import Answer, Listing, Shape, Unlisted

from .._http import Door, Patience, asked_price, is_plain

SOURCE = "Hot Aisle available machines"
NEEDS = ("HOTAISLE_API_KEY", "HOTAISLE_TEAM_HANDLE")


def answers(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What is free and for how much, the cheapest for each count. Raises provider errors."""
    key, team = (os.environ.get(name, "").strip() for name in NEEDS)
    if not key or not team:
        missing = NEEDS[1] if key else NEEDS[0]
        raise MissingCredentials(f"{missing} is not set", "Hot Aisle shows its prices to a team's token alone")
    if not (key.isascii() and key.isprintable()) or not re.fullmatch(r"[A-Za-z0-9_.-]+", team):
        raise MissingCredentials("HOTAISLE_API_KEY or HOTAISLE_TEAM_HANDLE is none", "copy both again from Hot Aisle")
    headers = {"Authorization": f"Token {key}", "Accept": "application/json"}
    hint = "make a new token of the team at Hot Aisle"
    door = Door("Hot Aisle", "https://admin.hotaisle.app", "CLOUDTRAIN_HOTAISLE_URL", headers, hint)
    free = door.get_list(f"/api/teams/{team}/virtual_machines/available/", Patience(seconds))
    return _answers(rows, _by_name(door, free))


def _by_name(door: Door, free: Sequence[Any]) -> dict[str, list[Any]]:
    """The prices in cents of what is free, by our names: `MI300X x2`. Raises Unavailable for a machine without GPUs."""
    found: dict[str, list[Any]] = {}
    for machine in free:
        specs = machine.get("Specs") if isinstance(machine, dict) else None
        gpus = specs.get("gpus") if isinstance(specs, dict) else None
        gpu: Mapping[str, Any] = gpus[0] if isinstance(gpus, list) and gpus and isinstance(gpus[0], dict) else {}
        model, count = gpu.get("model"), gpu.get("count")
        if not isinstance(model, str) or not isinstance(count, Decimal) or "OnDemandPrice" not in machine:
            raise door.odd("a machine without GPUs or price")
        found.setdefault(f"{model} x{count}", []).append(machine["OnDemandPrice"])
    return found


def _answers(rows: Sequence[Shape], free: Mapping[str, Sequence[Any]]) -> Iterable[Answer]:
    for row in rows:
        try:
            prices = [usd for cents in free.get(row.offer, ()) if (usd := asked_price(cents)) is not None]
        except ValueError:
            continue
        usd = min(prices) / 100 if prices else None
        yield Listing(row.offer, row.region, row.zones, "on_demand", usd, SOURCE, "" if prices else "none")
    known = {row.offer for row in rows}
    yield from (Unlisted(name, "") for name in free if is_plain(name) and name not in known)
