"""What DigitalOcean's API says of its sizes: `GET /v2/sizes`, every page, of the account that the token is of.

A size whose `regions` are empty is listed and cannot be had. Accounts see different lists, so a size that is absent is
"not sold" to this one. Facts: public clients and public notes of 2026; no call of ours has been made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.errors import MissingCredentials, visible
from cloudtrain.listings import Answer, Listing, Shape, Unlisted

from .._http import Door, Pages, Patience, asked_price
from .slugs import market_of

ADDRESS, VARIABLE = "https://api.digitalocean.com", "CLOUDTRAIN_DIGITALOCEAN_URL"
TOKENS_PAGE = "https://cloud.digitalocean.com/account/api/tokens"
SOURCE = "GET /v2/sizes"
LIVE_S = 30.0
ON_CONTRACT = ("-contracted", "-devcloud")  # sizes that are not sold by the hour, or on other accounts


class Size(NamedTuple):
    """A size in the list: where it can be had now, and its price as it stands there."""

    slug: str
    regions: tuple[str, ...]
    price: Any
    is_amd: bool


def answers(rows: Sequence[Shape], seconds: float) -> Iterator[Answer]:
    """What is said of each row, and which of AMD's sizes are no row. Raises provider errors before the first."""
    sizes = {size.slug: size for size in every(Patience(seconds))}
    for row in rows:
        try:
            usd = _price(sizes.get(row.offer), row.region)
        except ValueError:
            continue  # what is no figure is no answer
        yield Listing(row.offer, row.region, row.zones, market_of(row.offer), usd, SOURCE, "" if usd else "none")
    known = {(row.offer, row.region) for row in rows}
    for size in sizes.values():
        if size.is_amd and not size.slug.endswith(ON_CONTRACT):
            yield from (Unlisted(size.slug, region) for region in size.regions if (size.slug, region) not in known)


def _price(size: Size | None, region: str) -> Decimal | None:
    """Raises ValueError for a price that is no figure."""
    return asked_price(size.price) if size is not None and region in size.regions else None


def every(patience: Patience) -> list[Size]:
    """All sizes, over all pages. Raises Unavailable rather than give a list that may not be whole."""
    door = Door("DigitalOcean", ADDRESS, VARIABLE, {"Authorization": f"Bearer {_token()}"}, f"see {TOKENS_PAGE}")
    found: list[Size] = []
    pages, document = Pages(door), door.get("/v2/sizes", patience, per_page="200")
    while True:
        found += [_size(door, each) for each in _list(door, document)]
        following = pages.following(_part(_part(document, "links"), "pages").get("next"))
        if not following:
            break
        document = door.get(following, patience)
    if len({size.slug for size in found}) != len(found) or _part(document, "meta").get("total") != len(found):
        raise door.odd("a list of sizes that is not whole")
    return found


def _token() -> str:
    """Raises MissingCredentials when DIGITALOCEAN_TOKEN is unset or cannot be one."""
    token = os.environ.get("DIGITALOCEAN_TOKEN", "").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        hint = f"make one that may read at {TOKENS_PAGE} and export it"
        raise MissingCredentials("DIGITALOCEAN_TOKEN is not set, or is no token", hint)
    return token


def _size(door: Door, row: Any) -> Size:
    if not isinstance(row, Mapping) or not isinstance(slug := row.get("slug"), str):
        raise door.odd("a size without a slug")
    regions = row.get("regions")
    if not isinstance(regions, list) or not all(isinstance(each, str) for each in regions):
        raise door.odd(f"no regions of {visible(slug)}")
    gpu = row.get("gpu_info")
    is_amd = isinstance(gpu, Mapping) and str(gpu.get("model", "")).startswith("amd_")
    can_be_had = row.get("available") is True
    return Size(slug, tuple(regions) if can_be_had else (), row.get("price_hourly"), is_amd)


def _list(door: Door, document: Mapping[str, Any]) -> list[Any]:
    found = document.get("sizes")
    if not isinstance(found, list):
        raise door.odd("no list of sizes")
    return found


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name) or {}
    return found if isinstance(found, Mapping) else {}
