"""How a fake RunPod answers what its pods have cost: by bucket and pod, as far as its five-minute billing has come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtrain.simulator.http_server import Request
from cloudtrain.simulator.ledger import Entry
from cloudtrain.simulator.runpod.account import RunpodAccount
from cloudtrain.simulator.runpod.pods import instant
from cloudtrain.simulator.runpod.validation import Problem

ROUND_S = 300.0
DEFAULT_S = 30 * 86400.0
STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
AMOUNTS = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
PARAMETERS = ("startTime", "endTime", "bucketSize", "lastN", "podId")


def pod_billing(cloud: RunpodAccount, request: Request) -> dict[str, Any]:
    """The document. Raises Problem 400 for a question that the contract does not know."""
    asked = {name: values[0] for name, values in request.query.items()}
    if unknown := sorted(set(asked) - set(PARAMETERS)):
        raise Problem(400, f"unknown parameter {unknown[0]}")
    size, wanted = asked.get("bucketSize", "day"), asked.get("podId")
    if size not in STEPS:
        raise Problem(400, "this fake has buckets of an hour, a day or a week")
    begin, end = _window(cloud, asked, size)
    known = cloud.clock.now() // ROUND_S * ROUND_S
    records = [
        record
        for bucket in _buckets(begin, end, STEPS[size])
        for record in _records(cloud, bucket, bucket + STEPS[size], known)
        if wanted in (None, record["podId"])
    ]
    return {
        "records": records,
        "metadata": {
            "query": {**_range(begin, end), "bucketSize": size, "podId": wanted},
            "recordCount": len(records),
            "uniquePodCount": len({record["podId"] for record in records}),
            "totals": {name: sum(record[name] for record in records) for name in AMOUNTS},
        },
    }


def _window(cloud: RunpodAccount, asked: dict[str, str], size: str) -> tuple[datetime, datetime]:
    """The window, widened to whole buckets."""
    now, step = datetime.fromtimestamp(cloud.clock.now(), UTC), STEPS[size]
    if "lastN" in asked:
        if "startTime" in asked or "endTime" in asked or not asked["lastN"].isdigit() or asked["lastN"] == "0":
            raise Problem(400, "lastN is a number from 1 on, and excludes startTime and endTime")
        end = _floor(now, size) + step
        return end - int(asked["lastN"]) * step, end
    begin = _moment(asked["startTime"]) if "startTime" in asked else now - timedelta(seconds=DEFAULT_S)
    end = _moment(asked["endTime"]) if "endTime" in asked else now
    if begin >= end:
        raise Problem(400, "startTime must be before endTime")
    snapped = _floor(end, size)
    return _floor(begin, size), snapped if snapped == end else snapped + step


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(400, "not an instant of RFC 3339") from None
    if found.tzinfo is None:
        raise Problem(400, "not an instant of RFC 3339")
    return found.astimezone(UTC)


def _floor(moment: datetime, size: str) -> datetime:
    if size == "hour":
        return moment.replace(minute=0, second=0, microsecond=0)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday()) if size == "week" else day


def _buckets(begin: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += step


def _range(begin: datetime, end: datetime) -> dict[str, str]:
    return {"startTime": instant(begin.timestamp()), "endTime": instant(end.timestamp())}


def _records(cloud: RunpodAccount, begin: datetime, end: datetime, known: float) -> Iterator[dict[str, Any]]:
    """One record for each pod that cost something in the bucket."""
    pods: dict[str, dict[str, float]] = {}
    for entry in cloud.ledger.entries:
        first, last = max(begin.timestamp(), entry.begin), min(end.timestamp(), entry.end or known, known)
        if entry.id.startswith("pod") and last > first:
            _add(pods.setdefault(entry.id, dict.fromkeys(AMOUNTS, 0.0)), entry, (last - first) / 3600)
    for id_, amounts in pods.items():
        yield {**_range(begin, end), "podId": id_, **amounts}


def _add(amounts: dict[str, float], entry: Entry, hours: float) -> None:
    disk = entry.disk_usd_per_hour * hours
    compute = "gpuAmount" if entry.tags.get("kind") == "gpu" else "cpuAmount"
    amounts["diskAmount"] += disk
    amounts[compute] += entry.usd_per_hour * hours - disk
    amounts["totalAmount"] += entry.usd_per_hour * hours
