"""EC2's spot prices from DescribeSpotPriceHistory: all types of a region in one list, the newest price of each zone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.errors import ProviderError, Unavailable
from cloudtrain.listings import Answer, Listing, Shape, Unanswered

from .calls import Calls
from .list_prices import figure

SOURCE = "AWS DescribeSpotPriceHistory"
SYSTEM = "Linux/UNIX"
LONGEST_DAYS = 90  # AWS keeps no more
A_PAGE = 1000
# The price before the first instant is in the answer too, so an hour costs little, and our clock may be slow or fast.
SINCE = timedelta(hours=1)
# `use1-az6`; not `usw2-lax1-az1`: a machine without a wanted zone never starts in a local zone.
ORDINARY_ZONE = re.compile(r"[a-z0-9]+-az\d+")


class Change(NamedTuple):
    """From `time` on (epoch seconds) a type costs so much in a zone; None: it is not sold."""

    type: str
    zone: str  # its id
    time: float
    usd_per_hour: Decimal | None


def spot(rows: Sequence[Shape], calls: Calls) -> Iterator[Answer]:
    """What each row costs on spot now; a region that does not answer is named, and its rows have no Listing."""
    by_region: dict[str, list[Shape]] = defaultdict(list)
    for row in rows:
        by_region[row.region].append(row)
    for region, here in sorted(by_region.items()):
        try:
            changes = history({row.offer for row in here}, region, datetime.now(UTC) - SINCE, calls)
        except ProviderError as error:
            yield Unanswered(region, error, "spot")
            continue
        newest = newest_by_zone(changes)
        for row in here:
            usd = price_of_row(row.zones.split(), newest.get(row.offer, {}))
            yield Listing(row.offer, region, row.zones, "spot", usd, SOURCE)


def price_of_row(zones: Sequence[str], by_zone: Mapping[str, Decimal | None]) -> Decimal | None:
    """What a row may promise: the dearest of its zones, as it stands for each; without zones the region's cheapest."""
    if zones:
        return max((usd for zone in zones if (usd := by_zone.get(zone)) is not None), default=None)
    ordinary = (usd for zone, usd in by_zone.items() if usd is not None and ORDINARY_ZONE.fullmatch(zone))
    return min(ordinary, default=None)


def newest_by_zone(changes: Iterable[Change]) -> dict[str, dict[str, Decimal | None]]:
    """Type -> zone id -> what it costs since its last change; of two at one instant the dearer counts."""
    newest: dict[tuple[str, str], Change] = {}
    for change in changes:
        before = newest.get((change.type, change.zone))
        if before is None or _rank(change) > _rank(before):
            newest[change.type, change.zone] = change
    found: dict[str, dict[str, Decimal | None]] = defaultdict(dict)
    for (name, zone), change in newest.items():
        found[name][zone] = change.usd_per_hour
    return found


def past(shape: Shape, days: int) -> Iterator[tuple[float, str, Decimal]]:
    """Changes of a row's spot price, oldest first: epoch seconds, zone id, dollars an hour from then on.

    AWS keeps 90 days, and says of each zone what held at their beginning. Raises provider errors.
    """
    since = datetime.now(UTC) - min(timedelta(days=days), timedelta(days=LONGEST_DAYS) - SINCE)
    zones = shape.zones.split()
    for change in sorted(history({shape.offer}, shape.region, since, Calls(60.0)), key=lambda each: each[1:3][::-1]):
        if change.usd_per_hour is not None and (change.zone in zones or not zones):
            yield change.time, change.zone, change.usd_per_hour


def history(types: Iterable[str], region: str, since: datetime, calls: Calls) -> list[Change]:
    """Every change since then and the one before. Types are filtered by: as a parameter AWS refuses one that it lacks.

    Raises provider errors; one entry that cannot be read is one, since it may be the newest of its zone.
    """
    filters = {"instance-type": sorted(types), "product-description": [SYSTEM]}
    try:
        entries = calls.entries(
            *("ec2", region, "describe_spot_price_history", "SpotPriceHistory"),
            Filters=[{"Name": name, "Values": values} for name, values in filters.items()],
            StartTime=since,
            MaxResults=A_PAGE,
        )
    except ProviderError as error:
        raise _of_region(region, error) from None
    return [_change(entry) for entry in entries if str(entry.get("ProductDescription")).startswith(SYSTEM)]


def _change(entry: Mapping[str, Any]) -> Change:
    usd = figure(entry.get("SpotPrice"))
    zone, name, time = entry.get("AvailabilityZoneId"), entry.get("InstanceType"), entry.get("Timestamp")
    if not (zone and name and isinstance(time, datetime)) or isinstance(usd, tuple):
        raise Unavailable("AWS's spot prices have an entry that cannot be read", "nothing was taken from them")
    return Change(name, zone, time.timestamp(), usd)


def _rank(change: Change) -> tuple[float, Decimal]:
    return change.time, change.usd_per_hour or Decimal(0)


def _of_region(region: str, error: ProviderError) -> ProviderError:
    """A refusal as what it most often is of one region: it is not switched on in this account."""
    if any(code in error.message for code in ("AuthFailure", "OptInRequired")):
        return type(error)(f"{error.message}: {region} may not be enabled in this account", error.hint)
    return error
