"""EC2's list prices from GetProducts, in few calls: several types and regions in one, and one by one what is not there.

That a filter takes several values, and how they are written (with commas), was never asked live. So nothing hangs on
it: what such a call does not bring, or refuses, is asked once more for one type, and only that says "not sold".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.errors import MissingCredentials, ProviderError, Rejected, Unavailable, visible
from cloudtrain.listings import Answer, Listing, Shape, Unanswered, Unlisted

from .calls import Calls

PRICE_LIST_REGION = "us-east-1"  # the price list of all regions is served in a few
SOURCE, SOURCE_APART = "AWS GetProducts", "AWS GetProducts, one type at a time"
A_PAGE = 100  # the most that AWS sends on one
LONGEST = 1024  # characters of a filter's value
HIGHEST_USD = 1_000_000  # an hour
# Linux on shared hardware, without further software, of what is neither reserved nor a reservation's.
KIND = {"operatingSystem": "Linux", "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used"}

Pair = tuple[str, str]  # an instance type, a region


class _Group(NamedTuple):
    """Types and regions of one call."""

    types: set[str]
    regions: list[str]


class _Doubt(NamedTuple):
    """An entry from which no price can be taken."""

    why: str


Found = Decimal | _Doubt | None  # None: listed, and not sold for dollars an hour


class _Asking:
    """The price list as far as it was asked: what each type costs where, and who did not answer."""

    def __init__(self, wanted: set[Pair], calls: Calls) -> None:
        self.wanted = wanted
        self.calls = calls
        self.found: dict[Pair, Found] = {}
        self.failed: dict[Pair, ProviderError] = {}
        self.apart_from: set[Pair] = set()  # those that no call for several brought

    def together(self) -> None:
        """In as few calls as bring no more than a page each; not at all where AWS refuses several values."""
        for group in groups(self.wanted):
            pairs = {(name, region) for name in group.types for region in group.regions} & self.wanted
            values = {"instanceType": group.types, "regionCode": group.regions}
            filters = [
                {"Type": "ANY_OF", "Field": field, "Value": ",".join(sorted(value))} for field, value in values.items()
            ]
            try:
                self._ask(pairs, filters)
            except Rejected:
                return

    def apart(self) -> None:
        """What is not there by now: by type, in one region or in all."""
        missing: dict[str, set[str]] = defaultdict(set)
        self.apart_from = self.wanted - self.found.keys() - self.failed.keys()
        for name, region in self.apart_from:
            missing[name].add(region)
        for name, regions in sorted(missing.items()):
            filters = [_same("instanceType", name)]
            if len(regions) == 1:
                filters.append(_same("regionCode", *regions))
            pairs = {(name, region) for region in regions}
            try:
                self._ask(pairs, filters)
            except Rejected as error:
                self.failed |= dict.fromkeys(pairs, error)
            for pair in pairs - self.failed.keys():
                self.found.setdefault(pair, None)

    def _ask(self, pairs: set[Pair], filters: list[dict[str, str]]) -> None:
        """Raises MissingCredentials and Rejected."""
        every = [*filters, *(_same(field, value) for field, value in KIND.items())]
        try:
            texts = self.calls.entries(
                *("pricing", PRICE_LIST_REGION, "get_products", "PriceList"),
                ServiceCode="AmazonEC2",
                FormatVersion="aws_v1",
                MaxResults=A_PAGE,
                Filters=every,
            )
            entries = [entry for text in texts if (entry := read(text)) is not None]
        except (MissingCredentials, Rejected):
            raise
        except ProviderError as error:
            self.failed |= dict.fromkeys(pairs, error)
            return
        for pair, found in entries:
            self.found[pair] = dearer(self.found.get(pair), found)


def listed(rows: Sequence[Shape], calls: Calls) -> Iterator[Answer]:
    """What the price list says of each row; a row that was not answered for has no Listing, and its region is named.

    Raises MissingCredentials.
    """
    asking = _Asking({(row.offer, row.region) for row in rows}, calls)
    asking.together()
    asking.apart()
    failed = dict(asking.failed)
    for row in rows:
        pair = row.offer, row.region
        found = asking.found.get(pair)
        if pair in asking.failed:
            continue
        if isinstance(found, _Doubt):
            failed[pair] = Unavailable(f"AWS's price list on {row.offer} in {row.region}: {found.why}")
            continue
        source = SOURCE_APART if pair in asking.apart_from else SOURCE
        yield Listing(row.offer, row.region, row.zones, "on_demand", found, source)
    for region, error in {region: error for (_, region), error in sorted(failed.items())}.items():
        yield Unanswered(region, error, "on_demand")
    ours = {row.offer for row in rows if row.hardware and not row.hardware.startswith(("cpu", "nvidia"))}
    for name, region in sorted(asking.found.keys() - asking.wanted):
        if name in ours and isinstance(asking.found[name, region], Decimal):
            yield Unlisted(name, region)


def groups(pairs: Iterable[Pair]) -> list[_Group]:
    """Regions whose types, taken together, fill no more than a page; each filter's value is as long as may be."""
    by_region: dict[str, set[str]] = defaultdict(set)
    for name, region in pairs:
        by_region[region].add(name)
    found: list[_Group] = []
    for region in sorted(by_region, key=lambda region: (-len(by_region[region]), region)):
        for types in _chunks(by_region[region]):
            fitting = (each for each in found if _fits(each.types | types, [*each.regions, region]))
            group = next(fitting, None)
            if group is None:
                found.append(_Group(set(types), [region]))
            else:
                group.types.update(types)
                group.regions.append(region)
    return found


def _fits(types: set[str], regions: Sequence[str]) -> bool:
    return len(types) * len(regions) <= A_PAGE and max(len(",".join(types)), len(",".join(regions))) <= LONGEST


def _chunks(types: set[str]) -> Iterator[set[str]]:
    chunk: set[str] = set()
    for name in sorted(types):
        if chunk and not _fits(chunk | {name}, [""]):
            yield chunk
            chunk = set()
        chunk.add(name)
    yield chunk


def read(text: Any) -> tuple[Pair, Found] | None:
    """Type, region and price of an entry; None for one that was not asked for. Raises Unavailable."""
    try:
        product = json.loads(text, parse_float=Decimal, parse_int=Decimal, parse_constant=str)
        attributes = product["product"]["attributes"]
        if any(attributes[field] != value for field, value in KIND.items()):
            return None
        if attributes.get("marketoption", "OnDemand") != "OnDemand":
            return None
        pair = str(attributes["instanceType"]), str(attributes["regionCode"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unavailable("AWS's price list has an entry that cannot be read", "nothing was taken from it") from None
    try:
        return pair, _dollars_an_hour(product.get("terms", {}).get("OnDemand", {}))
    except (KeyError, TypeError, AttributeError):
        return pair, _Doubt("an entry cannot be read")


def _dollars_an_hour(terms: Mapping[str, Any]) -> Found:
    found: Found = None
    for rate in (rate for term in terms.values() for rate in term["priceDimensions"].values()):
        if rate["unit"] == "Hrs":
            found = dearer(found, figure(rate["pricePerUnit"].get("USD")))
    return found


def figure(value: Any) -> Found:
    """A price as AWS writes it, without zeros at its end; None for 0, which is "not sold so"."""
    try:
        usd = Decimal(value) if isinstance(value, str | Decimal) and len(str(value)) < 40 else None
    except ArithmeticError:
        usd = None
    if usd is None or not usd.is_finite() or not 0 <= usd < HIGHEST_USD:
        return _Doubt("no price in US dollars" if value is None else f"`{visible(str(value), 40)}` is no price")
    return Decimal(format(usd.normalize(), "f")) if usd else None


def dearer(one: Found, other: Found) -> Found:
    """The higher of two: a price may be lower than we say. A doubt stays one."""
    if isinstance(one, _Doubt) or other is None:
        return one
    return other if one is None or isinstance(other, _Doubt) else max(one, other)


def _same(field: str, value: str) -> dict[str, str]:
    return {"Type": "TERM_MATCH", "Field": field, "Value": value}
