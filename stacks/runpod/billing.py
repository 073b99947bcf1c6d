"""What RunPod has billed: `GET /v2/billing/pods`, by the ids of our pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cloudtrain.billing import Billing, BillQuestion, Bills
from cloudtrain.errors import Unavailable

from . import api

PATH = "/v2/billing/pods"
DAY_S = 86400.0
# RunPod bills every five minutes; how late a record can still change is written nowhere, so it gets six hours.
FIRST_S, SETTLED_S, EVERY_S = 300.0, 6 * 3600.0, 300.0
SORTS: Mapping[str, str] = {"gpuAmount": "compute", "cpuAmount": "compute", "diskAmount": "disk"}


def ask(questions: Sequence[BillQuestion], now: float) -> Bills:
    """The bills of the runs that were made with this key. Raises provider errors."""
    mark = api.key_mark()
    here = [each for each in questions if all(place.get("key", mark) == mark for place in each.places)]
    others = len(questions) - len(here)
    note = f"{others} runs were made with another key than RUNPOD_API_KEY" if others else ""
    if not here:
        return Bills({}, note)
    owners = {pod: each.run for each in here for pod in each.machines}
    found: dict[str, dict[str, Decimal]] = {}
    for record in records(min(each.begin for each in here), now):
        run = owners.get(record["podId"])
        if run is not None:
            _add(found.setdefault(run, {}), record)
    return Bills(found, note)


def records(begin: float, end: float) -> list[dict[str, Any]]:
    """Every record of every pod, by day. Raises Unavailable for an answer that is not whole."""
    query = {"startTime": _instant(begin // DAY_S * DAY_S), "endTime": _instant((end // DAY_S + 1) * DAY_S)}
    document = api.read(PATH, {**query, "bucketSize": "day"})
    found, told = document["records"], document["metadata"]
    asked = told["query"]
    whole = _epoch(asked["startTime"]) <= begin and _epoch(asked["endTime"]) >= end
    if not isinstance(found, list) or told["recordCount"] != len(found) or not whole:
        raise Unavailable("RunPod's bill is not whole", "try again")
    return [_checked(record) for record in found]


def _checked(record: Any) -> dict[str, Any]:
    if not isinstance(record["podId"], str) or not record["podId"]:
        raise Unavailable("RunPod's bill names no pod", "try again")
    for name in ("totalAmount", *SORTS):
        amount = record[name]
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not Decimal(amount).is_finite():
            raise Unavailable(f"RunPod's bill has no {name}", "try again")
    return dict(record)


def _add(sorts: dict[str, Decimal], record: Mapping[str, Any]) -> None:
    """Add a record; what its sum has beyond its parts is of another sort."""
    rest = Decimal(record["totalAmount"])
    for name, sort in SORTS.items():
        sorts[sort] = sorts.get(sort, Decimal(0)) + Decimal(record[name])
        rest -= Decimal(record[name])
    if abs(rest) >= Decimal("0.000001"):
        sorts["other"] = sorts.get("other", Decimal(0)) + rest


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


BILLED = Billing("RunPod's billing of pods", ask, FIRST_S, SETTLED_S, EVERY_S)
