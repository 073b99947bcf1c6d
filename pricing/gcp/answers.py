"""What Google's catalogue says of each row of our list: a slice is its chips, a processor host its cores and memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from cloudtrain.errors import ProviderError, Rejected
from cloudtrain.listings import Answer, Listing, Shape, Unanswered, Unlisted
from cloudtrain.offer import Market
from cloudtrain.settings import now

from .._http import Patience
from .catalogue import NAME, Catalogue
from .skus import COMPUTE_ENGINE, TPU_UNITS, Priced, priced

SOURCE = "Cloud Billing catalogue"
MARKETS: tuple[Market, ...] = ("on_demand", "spot")
NANO = Decimal("1e-9")  # dollars; finer than any price of the catalogue

_SLICE = re.compile(r"(v2|v3|v4|v5litepod|v5p|v6e|tpu7x)-(\d+)")
_BY_CHIPS = ("v5litepod", "v6e")  # what the suffix counts there; elsewhere it counts cores, of which a chip has two
_GENERATIONS = {"v5litepod": "v5e", "tpu7x": "7x"}
_HOST = re.compile(r"([a-z]+\d[a-z]*)-(?:standard|highmem|highcpu|megamem|ultramem|hypermem)-(\d+)")
_OWN_FAMILY = ("m4-ultramem-224", "m4n-ultramem-224")  # priced apart from the rest of theirs
_UPGRADES = ("m2",)  # sold as m1 and a premium, which nothing here adds up


class Part(NamedTuple):
    """So much of a good that the catalogue prices."""

    good: str
    amount: Decimal


class Prices:
    """Everything that the catalogue said of goods like ours, and which of its services were read to the end."""

    def __init__(self) -> None:
        self.believed: dict[tuple[str, Market, str], set[Decimal]] = {}
        self.doubted: dict[tuple[str, Market, str], str] = {}
        self.failed: dict[str, ProviderError] = {}

    def add(self, found: Priced) -> None:
        """One SKU's price, in each of its regions."""
        for region in found.regions:
            key = (found.good, found.market, region)
            if found.usd is None:
                self.doubted[key] = found.why
            else:
                self.believed.setdefault(key, set()).add(found.usd)

    def of(self, parts: Sequence[Part], market: Market, region: str) -> tuple[Decimal | None, str]:
        """Dollars for all parts, or None and why the catalogue does not say; "" for why: it says that there is none."""
        keys = [(part.good, market, region) for part in parts]
        found = [self.believed.get(key, set()) for key in keys]
        if all(len(each) == 1 for each in found):
            total = sum((part.amount * next(iter(each)) for part, each in zip(parts, found, strict=True)), Decimal(0))
            return total.quantize(NANO).normalize() + 0, ""
        for key, each in zip(keys, found, strict=True):
            if len(each) > 1:
                return None, f"two SKUs price {key[0]} ({market}) differently"
            if not each and key in self.doubted:
                return None, f"the SKU of {key[0]} ({market}) is not believed: {self.doubted[key]}"
        if any(found):
            return None, f"the catalogue lacks half of what {parts[0].good} and the like ({market}) are made of"
        return None, self._why_unknown(parts, market, region)

    def _why_unknown(self, parts: Sequence[Part], market: Market, region: str) -> str:
        """Why a missing SKU says nothing; "" where it says that the region does not sell it.

        It does where the catalogue sells just this elsewhere, so that its words are still the ones that we know, and
        has something of ours in this region, so that the region is in it.
        """
        elsewhere = {good for good, kind, _ in self.believed if kind == market}
        if not all(part.good in elsewhere for part in parts):
            return f"the catalogue names no {parts[0].good} ({market}) in any region"
        if not any(place == region for _, _, place in self.believed):
            return f"the catalogue names nothing of ours in {region}"
        return ""


def answers(rows: Sequence[Shape], seconds: float) -> Iterator[Answer]:
    """What the catalogue says of each row and market. Raises a ProviderError when it cannot be asked at all."""
    parts = {row: made_of(row) for row in rows}
    prices = read({service_of(each[0].good) for each in parts.values() if each}, seconds)
    answered: set[str] = set()
    doubts: dict[str, ProviderError] = {}
    for row, of_row in parts.items():
        for market in MARKETS:
            usd, why = None, f"{row.offer} is nothing that the catalogue prices"
            if of_row and (failure := prices.failed.get(service_of(of_row[0].good))):
                doubts.setdefault(row.region, failure)
                continue
            if of_row:
                usd, why = prices.of(of_row, market, row.region)
            if why:
                doubts.setdefault(row.region, Rejected(f"{NAME}: {why}", "the old prices stay, with their dates"))
                continue
            answered.add(row.region)
            yield Listing(row.offer, row.region, row.zones, market, usd, SOURCE)
    for region, error in doubts.items():
        if region not in answered:
            yield Unanswered(region, error)
    yield from unlisted(prices, parts)


def read(services: set[str], seconds: float) -> Prices:
    """Every price of the services. A service that fails on any page says nothing; raises when none is left."""
    catalogue = Catalogue(Patience(seconds))
    at, prices = datetime.fromtimestamp(now(), UTC), Prices()
    for service in sorted(services):
        found: list[Priced] = []
        try:
            found += filter(None, (priced(sku, service, at) for sku in catalogue.skus(service)))
        except ProviderError as error:
            prices.failed[service] = error
            continue
        for each in found:
            prices.add(each)
    if services and len(prices.failed) == len(services):
        raise prices.failed[max(services)]
    return prices


def service_of(good: str) -> str:
    """The service whose SKUs price a good."""
    generation = good.split(maxsplit=1)[0]
    return TPU_UNITS[generation][0] if generation in TPU_UNITS else COMPUTE_ENGINE


def made_of(row: Shape) -> tuple[Part, ...]:
    """What a row is made of; nothing where its name does not mean what its other cells say."""
    if found := _SLICE.fullmatch(row.offer):
        generation, suffix = _GENERATIONS.get(found[1], found[1]), int(found[2])
        chips = suffix if found[1] in _BY_CHIPS else suffix // 2
        if row.count != chips or row.hardware != (found[1] if generation == "7x" else f"tpu-{generation}"):
            return ()
        is_pod = generation == "v4" or (generation in ("v2", "v3") and suffix > 8)
        return (Part(f"{generation} pod" if is_pod else generation, Decimal(chips)),)
    found = _HOST.fullmatch(row.offer)
    if found is None or not row.hardware.startswith("cpu") or row.vcpus != int(found[2]) or not row.ram_gib:
        return ()
    if found[1] in _UPGRADES:
        return ()
    family = row.offer.replace("-", "") if row.offer in _OWN_FAMILY else found[1]
    return Part(f"{family} core", Decimal(row.vcpus)), Part(f"{family} ram", Decimal(str(row.ram_gib)))


def unlisted(prices: Prices, parts: dict[Shape, tuple[Part, ...]]) -> Iterator[Unlisted]:
    """Chips that are sold somewhere, and of which the list has no row there."""
    ours = {(part.good, row.region) for row, of_row in parts.items() for part in of_row}
    for good, region in sorted({(good, region) for good, _, region in prices.believed} - ours):
        if good.split()[0] in TPU_UNITS:
            yield Unlisted(f"TPU {good}", region)
