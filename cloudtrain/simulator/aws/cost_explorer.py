"""A fake Cost Explorer that bills from the ledger: late, by active tags only, a page at a time, a cent a request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudtrain.simulator.aws.account import AwsAccount
from cloudtrain.simulator.aws.wire import Call, Refused, answer
from cloudtrain.simulator.http_server import Reply
from cloudtrain.simulator.ledger import Delay, Entry

DELAY = Delay(24 * 3600.0, 72 * 3600.0)
CENT_A_REQUEST = 0.01
MONTHS_BACK = 14
Row = tuple[str, str, str, float]  # (first day of the period, tag's value, usage type, dollars)


def get_cost_and_usage(cloud: AwsAccount, call: Call) -> Reply:
    """GetCostAndUsage by one tag and the usage type. Raises Refused."""
    cloud.bill_requests.append(cloud.clock.now())
    given = call.given
    key = _tag(cloud, given)
    begin, end = _window(cloud, given)
    wanted = _wanted(given, key)
    rows = sorted(_rows(cloud, key, wanted, begin, end))
    fingerprint = hashlib.sha256(
        repr(sorted((k, repr(v)) for k, v in given.items() if k != "NextPageToken")).encode()
    ).hexdigest()[:16]
    start = _start(given.get("NextPageToken"), fingerprint)
    page, rest = rows[start : start + cloud.bill_page], len(rows) - start - cloud.bill_page
    result: dict[str, Any] = {
        "GroupDefinitions": given["GroupBy"],
        "ResultsByTime": [
            _period(day, end, [row for row in page if row[0] == day], key) for day in _months(begin, end)
        ],
        "DimensionValueAttributes": [],
    }
    if rest > 0:
        result["NextPageToken"] = f"{fingerprint}:{start + cloud.bill_page}"
    return answer(call, result)


def _tag(cloud: AwsAccount, given: Mapping[str, Any]) -> str:
    """The tag that is grouped by. Refused: anything but our way of asking, and a tag that is not active.

    What the real one answers for a tag that is not active was not seen; our client takes an empty answer for it too.
    """
    groups = given.get("GroupBy") or []
    if len(groups) > 2:
        raise Refused("ValidationException", "Maximum of 2 groups allowed")
    tags = [each["Key"] for each in groups if each.get("Type") == "TAG"]
    dimensions = [each["Key"] for each in groups if each.get("Type") == "DIMENSION"]
    if len(tags) != 1 or dimensions != ["USAGE_TYPE"] or given.get("Metrics") != ["UnblendedCost"]:
        raise Refused("ValidationException", "this fake groups UnblendedCost by a tag and the usage type")
    if given.get("Granularity") not in ("MONTHLY", "DAILY"):
        raise Refused("ValidationException", "Hourly data is not enabled for this account")
    if cloud.cost_tags.get(tags[0], float("inf")) > cloud.clock.now():
        raise Refused("ValidationException", f"Tag key {tags[0]} is not an active cost allocation tag")
    return str(tags[0])


def _window(cloud: AwsAccount, given: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """The days asked for, the second exclusive. Raises Refused."""
    period = given["TimePeriod"]
    try:
        begin, end = (datetime.strptime(period[name], "%Y-%m-%d").replace(tzinfo=UTC) for name in ("Start", "End"))
    except ValueError:
        raise Refused("ValidationException", "Start time and end time must be days") from None
    today = datetime.fromtimestamp(cloud.clock.now(), UTC)
    if begin >= end:
        raise Refused("ValidationException", f"Start date (and hour) should be before end date (and hour): {period}")
    if end > today + timedelta(days=1):
        raise Refused("ValidationException", "end date is in the future")
    if begin < today - timedelta(days=31 * MONTHS_BACK):
        raise Refused("ValidationException", "You haven't enabled historical data beyond 14 months")
    return begin, end


def _wanted(given: Mapping[str, Any], key: str) -> frozenset[str]:
    """The tag's values that are let through. Raises Refused."""
    chosen = given.get("Filter") or {}
    tags = chosen.get("Tags") or {}
    if set(chosen) != {"Tags"} or tags.get("Key") != key or not tags.get("Values"):
        raise Refused("ValidationException", "this fake filters by the values of the tag that is grouped by")
    return frozenset(tags["Values"])


def _rows(cloud: AwsAccount, key: str, wanted: frozenset[str], begin: datetime, end: datetime) -> Iterator[Row]:
    sums: dict[tuple[str, str, str], float] = {}
    since = cloud.cost_tags[key]
    months = _months(begin, end)
    for entry in cloud.ledger.entries:
        value = entry.tags.get(key, "")
        if value not in wanted:
            continue
        for day in months:
            first, last = _bounds(day, end)
            hours = cloud.ledger.billed_hours(entry, DELAY, max(first, since), last)
            if hours > 0:
                name = (day, value, usage_type(entry))
                sums[name] = sums.get(name, 0.0) + hours * entry.usd_per_hour
    yield from ((*name, usd) for name, usd in sums.items())


def usage_type(entry: Entry) -> str:
    """As Cost Explorer calls what costs."""
    words = entry.what.split()
    if words[0] == "instance":
        return f"{'SpotUsage' if words[2] == 'spot' else 'BoxUsage'}:{words[1]}"
    return "EBS:VolumeUsage.gp3" if words[0] == "volume" else entry.what


def _months(begin: datetime, end: datetime) -> list[str]:
    """The first days of the periods: the begin, then the first of each month."""
    found, day = [], begin
    while day < end:
        found.append(day.strftime("%Y-%m-%d"))
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return found


def _bounds(day: str, end: datetime) -> tuple[float, float]:
    first = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    following = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
    return first.timestamp(), min(following, end).timestamp()


def _period(day: str, end: datetime, rows: list[Row], key: str) -> dict[str, Any]:
    last = datetime.fromtimestamp(_bounds(day, end)[1], UTC)
    groups = [
        {"Keys": [f"{key}${value}", usage], "Metrics": {"UnblendedCost": {"Amount": f"{usd:.10f}", "Unit": "USD"}}}
        for _, value, usage, usd in rows
    ]
    return {
        "TimePeriod": {"Start": day, "End": last.strftime("%Y-%m-%d")},
        "Total": {},
        "Groups": groups,
        "Estimated": True,
    }


def _start(token: str | None, fingerprint: str) -> int:
    """Where a page begins. Refused: a token of another question."""
    if not token:
        return 0
    asked, _, number = token.partition(":")
    if asked != fingerprint or not number.isdigit():
        raise Refused("RequestChangedException", "Your request parameters changed between pages.")
    return int(number)
