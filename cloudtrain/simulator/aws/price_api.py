"""The fake's price interfaces, GetProducts and DescribeSpotPriceHistory: page by page, strict about what is asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

from cloudtrain.simulator.aws.account import AwsAccount
from cloudtrain.simulator.aws.price_book import Change, PriceBook
from cloudtrain.simulator.aws.wire import Call, Refused, answer, backend
from cloudtrain.simulator.http_server import Reply

DAY_S = 86400.0
LONGEST_S = 90 * DAY_S  # how far back spot prices are known
MOST_PRODUCTS, MOST_CHANGES = 100, 1000  # on a page
SYSTEMS = {"Linux/UNIX": 1, "Windows": 2}  # and how much dearer that is
ATTRIBUTES = {"operatingSystem": "Linux", "tenancy": "Shared", "capacitystatus": "Used", "preInstalledSw": "NA"}
OTHER_KINDS = ({"operatingSystem": "Windows"}, {"tenancy": "Dedicated"}, {"preInstalledSw": "SQL Std"})
FIELDS = {"instanceType", "regionCode", "marketoption", "productFamily", "servicecode", *ATTRIBUTES}


def spot_price_history(cloud: AwsAccount, call: Call) -> Reply:
    """DescribeSpotPriceHistory: what changed between the two times, and what held before the first."""
    book, now = cloud.prices, cloud.clock.now()
    book.requests.append((call.name, call.region))
    if call.region in book.refused_regions or book.faults.take("region_refused"):
        raise Refused("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    if book.faults.take("clock_skew"):
        raise Refused("RequestExpired", "Request has expired.")
    passes = _spot_filter(call.given)
    zones = {
        zone.zone_id: zone.name for zone in backend("ec2", cloud.account, call.region).describe_availability_zones()
    }
    since, until = (_seconds(call.given.get(name)) for name in ("StartTime", "EndTime"))
    since = max(now - LONGEST_S, since or 0.0)
    entries = [
        {
            "AvailabilityZone": zones.get(change.zone, f"{call.region}x"),
            "AvailabilityZoneId": change.zone,
            "InstanceType": change.type,
            "ProductDescription": system,
            "SpotPrice": f"{change.usd * times:.6f}",
            "Timestamp": datetime.fromtimestamp(change.time, UTC).replace(tzinfo=None),
        }
        for change in _in_time(_changes(book, call.region, zones, now), since, now if until is None else until)
        for system, times in SYSTEMS.items()
        if passes(change, zones.get(change.zone, ""), system)
    ]
    size = min(int(call.given.get("MaxResults") or MOST_CHANGES), MOST_CHANGES)
    here = _page(cloud, call, entries, size, "InvalidPaginationToken")
    if isinstance(here, Reply):
        return here
    listed = {row.type: row.usd_per_hour for row in book.sold if row.region == call.region and row.usd_per_hour}
    shown = [each for each in here.entries if _spoil_change(book, each, listed.get(each["InstanceType"]))]
    return book.faults.sent(answer(call, {"SpotPriceHistory": shown, "NextToken": here.token or ""}))


def get_products(cloud: AwsAccount, call: Call) -> Reply:
    """GetProducts of AmazonEC2: an entry for each type, region and kind that every filter lets through."""
    book = cloud.prices
    book.requests.append((call.name, call.region))
    if call.region != "us-east-1" or call.given["ServiceCode"] != "AmazonEC2":
        raise Refused("NotFoundException", "this fake has the prices of AmazonEC2 in us-east-1")
    if book.faults.take("clock_skew"):
        raise Refused("InvalidSignatureException", "Signature expired: it is later than that.", 403)
    filters = [_product_filter(book, each) for each in call.given.get("Filters", [])]
    found = [each for each in _products(book) if all(passes(each["product"]["attributes"]) for passes in filters)]
    size = int(call.given.get("MaxResults") or MOST_PRODUCTS)
    if not 1 <= size <= MOST_PRODUCTS:
        raise Refused("InvalidParameterException", "MaxResults must be between 1 and 100")
    here = _page(cloud, call, found, size, "InvalidNextTokenException")
    if isinstance(here, Reply):
        return here
    texts = [json.dumps(entry) for entry in here.entries if _spoil_product(book, entry)]
    following = {"NextToken": here.token} if here.token else {}
    return book.faults.sent(answer(call, {"FormatVersion": "aws_v1", "PriceList": texts, **following}))


class _Page(NamedTuple):
    entries: Sequence[Any]
    token: str | None  # of the next one


def _page(cloud: AwsAccount, call: Call, entries: Sequence[Any], size: int, bad_token: str) -> _Page | Reply:
    """One page, or what comes in its place. A token is of this question alone, and good for a while."""
    book = cloud.prices
    question = {name: str(value) for name, value in call.given.items() if name != "NextToken"}
    own = sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]
    token = call.given.get("NextToken")
    start = 0
    if token is not None:
        if not token.startswith(f"{own}-") or token not in book.tokens:
            raise Refused(bad_token, "The token is not valid")
        start = int(token.split("-")[1])
        if book.faults.take("expired_token") or cloud.clock.now() > book.tokens[token]:
            raise Refused("ExpiredNextTokenException" if call.service == "pricing" else bad_token, "It has expired")
    size = min(size, book.page)
    if book.faults.take("throttled"):
        code = "RequestLimitExceeded" if call.service == "ec2" else "ThrottlingException"
        raise Refused(code, "Rate exceeded", 503 if call.service == "ec2" else 400)
    if (reply := book.faults.instead(start // size + 1, start + size >= len(entries))) is not None:
        return reply
    here, following = book.faults.page(entries, size, start)
    if following is None:
        return _Page(here, None)
    following_token = f"{own}-{following}-{0 if here else len(book.tokens)}"
    book.tokens[following_token] = cloud.clock.now() + book.token_s
    return _Page(here, following_token)


def _changes(book: PriceBook, region: str, zones: Mapping[str, str], now: float) -> Iterator[Change]:
    """Every change of a region: the test's, else one for each zone, yesterday."""
    if book.changes is not None:
        yield from (change for change in book.changes if change.region == region)
        return
    for row in book.sold:
        if row.region == region and row.spot_usd_per_hour is not None:
            for zone in row.zones or tuple(zones):
                yield Change(row.type, region, zone, now - DAY_S, Decimal(str(row.spot_usd_per_hour)))


def _in_time(changes: Iterator[Change], since: float, until: float) -> list[Change]:
    """Those between the two, newest first, and of each zone the last one before."""
    found, before = [], {}
    for change in sorted(changes, key=lambda each: each.time):
        if since < change.time <= until:
            found.append(change)
        elif change.time <= since:
            before[change.type, change.zone] = change
    return [*reversed(found), *before.values()]


def _spot_filter(given: Mapping[str, Any]) -> Callable[[Change, str, str], bool]:
    """Whether a change, its zone's name and a system are asked for. Raises Refused for what EC2 has not."""
    wanted: list[tuple[str, Sequence[str]]] = [
        ("instance-type", given.get("InstanceTypes", [])),
        ("product-description", given.get("ProductDescriptions", [])),
        ("availability-zone-id", [given["AvailabilityZoneId"]] if given.get("AvailabilityZoneId") else []),
        ("availability-zone", [given["AvailabilityZone"]] if given.get("AvailabilityZone") else []),
    ]
    if wanted[2][1] and wanted[3][1]:
        raise Refused("InvalidParameterCombination", "AvailabilityZone and AvailabilityZoneId exclude each other")
    names = {name for name, _ in wanted}
    for each in given.get("Filters", []):
        if each.get("Name") not in names or not each.get("Values"):
            raise Refused("InvalidParameterValue", f"The filter '{each.get('Name')}' is invalid")
        wanted.append((each["Name"], each["Values"]))

    def passes(change: Change, zone_name: str, system: str) -> bool:
        said = dict(zip(("instance-type", "product-description"), (change.type, system), strict=True))
        said |= {"availability-zone-id": change.zone, "availability-zone": zone_name}
        return all(said[name] in values for name, values in wanted if values)

    return passes


def _product_filter(book: PriceBook, given: Mapping[str, str]) -> Callable[[Mapping[str, str]], bool]:
    """One filter of GetProducts. Raises Refused for a field that EC2's products lack."""
    kind, name, value = given["Type"], given["Field"], given["Value"]
    if name not in FIELDS:
        raise Refused("InvalidParameterException", f"{name} is no attribute of AmazonEC2")
    if kind in ("ANY_OF", "NONE_OF") and book.several == "refused":
        raise Refused("InvalidParameterException", f"Input Parameters are invalid: {kind}")
    values = value.split(",") if book.several == "commas" else [value]
    return {
        "TERM_MATCH": lambda attributes: attributes.get(name) == value,
        "EQUALS": lambda attributes: attributes.get(name) == value,
        "CONTAINS": lambda attributes: value in attributes.get(name, ""),
        "ANY_OF": lambda attributes: attributes.get(name) in values,
        "NONE_OF": lambda attributes: attributes.get(name) not in values,
    }[kind]


def _products(book: PriceBook) -> Iterator[dict[str, Any]]:
    """Every product: of a type in a region the ordinary one, dearer kinds, and a reservation's, which costs nothing."""
    seen = set()
    for row in book.sold:
        if row.usd_per_hour is None or (row.type, row.region) in seen:
            continue
        seen.add((row.type, row.region))
        usd = Decimal(str(row.usd_per_hour))
        own = {"instanceType": row.type, "regionCode": row.region, "marketoption": "OnDemand", **ATTRIBUTES}
        yield _product(own, usd)
        yield _product({**own, "marketoption": "CapacityBlock"}, Decimal(0))
        for other in OTHER_KINDS:
            yield _product({**own, **other}, usd * 2)


def _product(attributes: Mapping[str, str], usd: Decimal) -> dict[str, Any]:
    rate = {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd:.10f}"}, "beginRange": "0", "endRange": "Inf"}
    reserved = {"R": {"unit": "Quantity", "pricePerUnit": {"USD": f"{usd * 4000:.0f}"}}}
    return {
        "product": {"productFamily": "Compute Instance", "sku": "SKU", "attributes": dict(attributes)},
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {"SKU.TERM": {"priceDimensions": {"SKU.TERM.RATE": rate}}},
            "Reserved": {"SKU.ALL": {"priceDimensions": reserved, "termAttributes": {"LeaseContractLength": "1yr"}}},
        },
    }


def _spoil_product(book: PriceBook, product: dict[str, Any]) -> bool:
    """Put the faults of figures into an entry. False: it is missing."""
    rate = product["terms"]["OnDemand"]["SKU.TERM"]["priceDimensions"]["SKU.TERM.RATE"]
    price = rate["pricePerUnit"]
    if book.faults.take("other_currency"):
        rate["pricePerUnit"] = {"CNY": price["USD"]}
    elif book.faults.take("zero"):
        price["USD"] = "0.0000000000"
    elif book.faults.take("filler"):
        price["USD"] = "700.0000000000"
    elif book.faults.take("other_number"):
        price["USD"] = float(price["USD"])
    return not book.faults.take("missing")


def _spoil_change(book: PriceBook, entry: dict[str, Any], listed: float | None) -> bool:
    """The same for a spot price; one has no currency, and is a text whatever it is."""
    if book.faults.take("zero"):
        entry["SpotPrice"] = "0.000000"
    elif book.faults.take("filler"):
        entry["SpotPrice"] = "700.000000"
    elif listed and book.faults.take("spot_above_list"):
        entry["SpotPrice"] = f"{listed * 3:.6f}"
    return not book.faults.take("missing")


def _seconds(time: Any) -> float | None:
    """Epoch seconds of what a request says: a time, or its text."""
    if time is None:
        return None
    found = time if isinstance(time, datetime) else datetime.fromisoformat(str(time).replace("Z", "+00:00"))
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()
