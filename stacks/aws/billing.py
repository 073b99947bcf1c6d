"""What AWS has billed: Cost Explorer by our tag. Every request costs a cent, so one is asked for all runs, and once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from cloudtrain.billing import Billing, BillQuestion, Bills
from cloudtrain.errors import Permission, ProviderError, Quota, Rejected, Unavailable

from .._lifecycle.names import KEY

HOME = "us-east-1"  # where Cost Explorer is
PAGES_AT_MOST = 10
RUNS_AT_MOST = 100
FIRST_S, SETTLED_S, EVERY_S = 24 * 3600.0, 72 * 3600.0, 24 * 3600.0
ACTIVATE: Final = (
    f"the tag {KEY} is not active for bills: in the account that pays, `aws ce update-cost-allocation-tags-status "
    f"--cost-allocation-tags-status TagKey={KEY},Status=Active`, a day after the first tagged machine; what was used "
    "before is not on it"
)
ENABLE: Final = "this account has no Cost Explorer yet: open it once in the console; it needs a day to fill"
# Part of a usage type, after the region's letters -> sort of cost.
SORTS: Final = (
    ("EBS:", "disk"),
    ("PublicIPv4", "address"),
    ("ElasticIP", "address"),
    ("DataTransfer", "egress"),
    ("-Bytes", "egress"),
    ("BoxUsage", "compute"),
    ("SpotUsage", "compute"),
    ("DedicatedUsage", "compute"),
)


def ask(questions: Sequence[BillQuestion], now: float) -> Bills:
    """The bills of the runs of this account. Raises provider errors."""
    from .owned import account

    mine = account()["account"]
    here = [each for each in questions if all(place.get("account", mine) == mine for place in each.places)]
    others = len(questions) - len(here)
    note = f"{others} runs are of another AWS account than {mine}" if others else ""
    if not here:
        return Bills({}, note)
    asked = sorted(here, key=lambda each: each.begin)[:RUNS_AT_MOST]
    try:
        found = _sums(asked, now)
    except Rejected as error:
        if "(ValidationException)" in error.message and KEY in error.message:
            return Bills({}, ACTIVATE)
        raise
    except Permission as error:
        if "not enabled" in error.message:
            return Bills({}, ENABLE)
        raise Permission(error.message, "allow ce:GetCostAndUsage, or leave the bill to who may see it") from None
    silent = any(each.run not in found and now - each.begin >= 2 * FIRST_S for each in asked)
    return Bills(found, "; ".join(filter(None, (f"of some runs nothing: perhaps {ACTIVATE}" if silent else "", note))))


def _sums(asked: Sequence[BillQuestion], now: float) -> dict[str, dict[str, Decimal]]:
    """Run -> sort -> dollars."""
    runs = {each.key: each.run for each in asked}
    begin, end = _day(min(each.begin for each in asked)), _day(now)
    found: dict[str, dict[str, Decimal]] = {}
    for tag, usage, usd in _rows(begin, end, sorted(runs)):
        run = runs.get(tag)
        if run is None:
            if tag:
                raise Unavailable(f"Cost Explorer names `{tag}`, which was not asked for", "try again tomorrow")
            continue  # untagged: what was used before the tag was active
        sorts = found.setdefault(run, {})
        sort = sort_of(usage)
        sorts[sort] = sorts.get(sort, Decimal(0)) + usd
    return found


def _rows(begin: str, end: str, keys: list[str]) -> Iterator[tuple[str, str, Decimal]]:
    """(run's key, usage type, dollars) of every group on every page."""
    more: dict[str, str] = {}
    for _ in range(PAGES_AT_MOST):
        page = _page(
            TimePeriod={"Start": begin, "End": end},
            Granularity="MONTHLY",
            Metrics=["UnblendedCost"],
            Filter={"Tags": {"Key": KEY, "Values": keys, "MatchOptions": ["EQUALS"]}},
            GroupBy=[{"Type": "TAG", "Key": KEY}, {"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
            **more,
        )
        for period in page["ResultsByTime"]:
            yield from map(_row, period["Groups"])
        token = str(page.get("NextPageToken") or "")
        if not token:
            return
        if token == more.get("NextPageToken"):
            break
        more = {"NextPageToken": token}
    raise Unavailable("Cost Explorer's answer does not end", "try again tomorrow")


def _page(**arguments: Any) -> Mapping[str, Any]:
    """One request, never repeated: it costs a cent each time."""
    from . import client

    try:
        return client.read_once("ce", HOME, "get_cost_and_usage", **arguments)
    except Quota as error:  # here LimitExceededException is "slower"
        raise Unavailable(error.message, "try again tomorrow") from None
    except ProviderError as error:
        if "(DataUnavailableException)" in error.message:
            raise Permission(f"Cost Explorer is not enabled: {error.message}") from None
        raise


def _row(group: Mapping[str, Any]) -> tuple[str, str, Decimal]:
    tag, usage = group["Keys"]
    key, separator, value = tag.partition("$")
    cost = group["Metrics"]["UnblendedCost"]
    amount = Decimal(cost["Amount"]) if isinstance(cost["Amount"], str) else Decimal("nan")
    if key != KEY or not separator or not isinstance(usage, str) or not amount.is_finite() or cost["Unit"] != "USD":
        raise Unavailable("Cost Explorer answered with something else than dollars by our tag", "try again tomorrow")
    return value, usage, amount


def sort_of(usage: str) -> str:
    """The sort of cost of a usage type: `USW2-EBS:VolumeUsage.gp3` is disk."""
    return next((sort for part, sort in SORTS if part in usage), "other")


def _day(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).date().isoformat()


BILLED = Billing(f"AWS Cost Explorer, tag {KEY}", ask, FIRST_S, SETTLED_S, EVERY_S)
