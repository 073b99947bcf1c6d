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
MOST_GONE, FEW = 0.05, 50  # more than this share of as many things asked about is not believed to be unsold
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


class Said(NamedTuple):
    """What the catalogue says of a row and market: dollars or None, unless there is an error."""

    row: Shape
    market: Market
    parts: tuple[Part, ...]
    usd: Decimal | None
    error: ProviderError | None

    @property
    def what(self) -> tuple[str, Market, str]:
        """Rows of the same chips in a place are one thing to the catalogue."""
        return self.parts[0].good if self.parts else "", self.market, self.row.region


def answers(rows: Sequence[Shape], seconds: float) -> Iterator[Answer]:
    """What the catalogue says of each row and market. Raises a ProviderError when it cannot be asked at all."""
    parts = {row: made_of(row) for row in rows}
    prices = read({service_of(each[0].good) for each in parts.values() if each}, seconds)
    said = _whole([_said(prices, row, market, of_row) for row, of_row in parts.items() for market in MARKETS])
    for each in said:
        if each.error is None:
            yield Listing(*each.row[:3], each.market, each.usd, SOURCE)
    yield from _silent(said)
    yield from unlisted(prices, parts)


def _silent(said: Sequence[Said]) -> Iterator[Unanswered]:
    """Regions of which nothing was answered, under a market or at all, each with the first reason."""
    answered = {(each.row.region, each.market) for each in said if each.error is None}
    why: dict[tuple[str, Market], ProviderError] = {}
    for each in said:
        if each.error is not None and (each.row.region, each.market) not in answered:
            why.setdefault((each.row.region, each.market), each.error)
    for (region, market), error in sorted(why.items(), key=lambda item: item[0]):
        if all((region, each) in why for each in MARKETS):
            if market == MARKETS[0]:
                yield Unanswered(region, error)
        else:
            yield Unanswered(region, error, market)


def _said(prices: Prices, row: Shape, market: Market, parts: tuple[Part, ...]) -> Said:
    if not parts:
        return Said(row, market, parts, None, _doubt(f"{row.offer} is nothing that it prices"))
    if failure := prices.failed.get(service_of(parts[0].good)):
        return Said(row, market, parts, None, failure)
    usd, why = prices.of(parts, market, row.region)
    return Said(row, market, parts, usd, _doubt(why) if why else None)


def _doubt(why: str) -> Rejected:
    return Rejected(f"{NAME}: {why}", "the old prices stay, with their dates")


def _whole(said: list[Said]) -> list[Said]:
    """The same, but nothing is taken for unsold where so much is missing that a page may be, rather than all that."""
    gone = {each.what for each in said if each.usd is None and each.error is None}
    asked = {each.what for each in said}
    if len(asked) < FEW or len(gone) <= MOST_GONE * len(asked):
        return said
    lost = _doubt(f"{len(gone)} of {len(asked)} prices are missing, so it may not have come whole")
    return [each._replace(error=lost) if each.usd is None and each.error is None else each for each in said]


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
