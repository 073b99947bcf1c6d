"""How a fake DigitalOcean answers what its sizes cost: counted pages of two, with the faults of a price interface.

It has no currency, no date, no list price beside a spot price and no region of its own to refuse: such faults it cannot
show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from cloudtrain.simulator.digitalocean.account import DigitaloceanAccount
from cloudtrain.simulator.digitalocean.validation import Problem, only, whole
from cloudtrain.simulator.http_server import Reply, Request

PAGE = 2  # smaller than is asked for, so that nobody gets along with the first


def list_sizes(cloud: DigitaloceanAccount, request: Request, _: int) -> Reply:
    """The page that is asked for, as the test has set it. Raises Problem 400, and 401 when the token ends meanwhile."""
    asked, faults = only(request.query, "page", "per_page"), cloud.price_faults
    number, size = whole(asked, "page", 1, 10**6), min(PAGE, whole(asked, "per_page", 20, 200))
    rows = [_spoiled(cloud, row) for row in cloud.sizes.values()]
    if faults.take("missing"):
        rows = rows[:-1]
    start = (number - 1) * size
    if start and faults.take("expired_token"):
        raise Problem(401)
    if instead := faults.instead(number, start + size >= len(rows)):
        return instead
    shown, following = faults.page(rows, size, start)
    links: dict[str, Any] = {}
    if following is not None:
        query = urlencode({**asked, "page": following // size + 1})
        links["pages"] = {"next": f"{cloud.url}{request.path}?{query}"}
    document = {"sizes": shown, "links": links, "meta": {"total": len(rows)}}
    return faults.sent(Reply(200, json.dumps(document).encode(), {"Content-Type": "application/json"}))


def _spoiled(cloud: DigitaloceanAccount, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A size of AMD's with a figure that is wrong, or written otherwise."""
    faults = cloud.price_faults
    if not str(row.get("gpu_info", {}).get("model", "")).startswith("amd_"):
        return row
    if faults.take("other_number"):
        row = {**row, "price_hourly": str(row["price_hourly"])}
    if faults.take("zero"):
        row = {**row, "price_hourly": 0}
    return {**row, "price_hourly": 700} if faults.take("filler") else row
