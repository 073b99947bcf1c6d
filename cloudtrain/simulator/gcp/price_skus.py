"""SKUs of the fake billing catalogue: how Google writes one, those of a price list, and their many tempting neighbours.

The wording is what public programs have recorded of the real catalogue. Of v2 to v4 two SKUs are known word by word, of
the others how they begin.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

COMPUTE_ENGINE, CLOUD_TPU = "6F81-5844-456A", "E000-3F24-B8AA"
SERVICES = {COMPUTE_ENGINE: "Compute Engine", CLOUD_TPU: "Cloud TPU"}
NANO = Decimal("1e-9")
CORES = {"m1": "Memory-optimized Instance", "m3": "M3 Memory-optimized Instance"}  # others: `N4D Instance`
BY_GB = ("c4d",)  # families whose memory is sold by the GB of 10^9 bytes
GIB_IN_GB = Decimal(2**30) / 10**9
EIGHT_CORES = 4  # chips, in which v2 to v4 are sold


class Sku(NamedTuple):
    """One SKU. `usd` is for one `unit`; `begins` is when its price came or comes into force, seconds since 1970."""

    description: str
    group: str  # TPU | CPU | RAM | N1Standard | GPU ...
    usd: Decimal
    regions: tuple[str, ...]
    service: str = COMPUTE_ENGINE
    unit: str = "h"
    usage: str = "OnDemand"
    begins: float = 1.78e9
    free_until: float = 0.0  # use that a tier of its own makes free of charge
    currency: str = "USD"
    family: str = "Compute"
    is_noise: bool = False  # beside what a test is about: faults of figures pass it by


def of_price_list(rows: Iterable[Mapping[str, str]]) -> list[Sku]:
    """The SKUs with which Google would come to the prices in these rows of `snapshots/gcp.csv`."""
    chips: dict[tuple[str, bool, str, bool], list[tuple[int, Decimal]]] = {}
    hosts: dict[tuple[str, str, bool], list[tuple[int, Fraction, Fraction]]] = {}
    for row in rows:
        kind, region = row["accelerator"].removeprefix("tpu-"), row["region"]
        for is_spot, cell in ((False, row["od_usd_h"]), (True, row["spot_usd_h"])):
            if cell and kind != row["accelerator"]:
                is_pod = kind == "v4" or (kind in ("v2", "v3") and not row["offer"].endswith("-8"))
                slice_ = int(row["accel_count"]), Decimal(cell)
                chips.setdefault((kind, is_pod, region, is_spot), []).append(slice_)
            elif cell:
                host = int(row["vcpus"]), Fraction(row["ram_gib"]), Fraction(cell)
                hosts.setdefault((row["offer"].split("-")[0], region, is_spot), []).append(host)
    made = [_chip(*key, slices) for key, slices in chips.items()]
    return made + [sku for key, shapes in hosts.items() for sku in _host(*key, shapes)]


def _chip(generation: str, is_pod: bool, region: str, is_spot: bool, slices: list[tuple[int, Decimal]]) -> Sku:
    """One chip's, or eight cores' of v2 to v4. Where prices of slices are rounded, the largest's says most."""
    most, usd = max(slices)
    one = usd / most
    if any(one * chips != price for chips, price in slices):
        one = one.quantize(Decimal("1e-6"))
    if generation in ("v2", "v3", "v4"):
        kind = f"{generation}{' Pod' if is_pod else ''}{' Preemptible' if is_spot else ''}"
        words = f"Tpu-{kind} Accelerator {region}"
        return Sku(words, "TPU", one * EIGHT_CORES, (region,), CLOUD_TPU)
    name = f"Tpu{generation.capitalize()}"
    if is_spot:
        words, usage = f"{name} attached to Spot Preemptible VMs running in {region}", "Preemptible"
        return Sku(words, "TPU", one, (region,), usage=usage)
    return Sku(f"{name} running in {region}", "TPU", one, (region,))


def _host(family: str, region: str, is_spot: bool, shapes: list[tuple[int, Fraction, Fraction]]) -> Iterator[Sku]:
    """A core and a GiB of a family, of which all of its shapes are made."""
    core, gib = split(shapes)
    words = f"{'Spot Preemptible ' if is_spot else ''}{CORES.get(family, f'{family.upper()} Instance')}"
    usage = "Preemptible" if is_spot else "OnDemand"
    yield Sku(f"{words} Core running in {region}", "CPU", core, (region,), usage=usage)
    by_gb = family in BY_GB
    usd, unit = (gib / GIB_IN_GB, "GBy.h") if by_gb else (gib, "GiBy.h")
    yield Sku(f"{words} Ram running in {region}", "RAM", usd, (region,), usage=usage, unit=unit)


def split(shapes: list[tuple[int, Fraction, Fraction]]) -> tuple[Decimal, Decimal]:
    """Dollars of a core and of a GiB, in whole nanos, that make up (vcpus, GiB, dollars) of every shape."""
    vcpus, gib, usd = shapes[0]
    for other, other_gib, other_usd in shapes[1:]:
        if (determinant := vcpus * other_gib - other * gib) != 0:
            found = (usd * other_gib - other_usd * gib) / determinant, (vcpus * other_usd - other * usd) / determinant
            return _decimal(found[0]), _decimal(found[1])
    nanos = int(usd * Fraction(2, 5) / gib * 10**9)  # two fifths are memory: as good a guess as any
    for each in range(nanos, 0, -1):
        core = (usd - gib * Fraction(each, 10**9)) / vcpus
        if (core * 10**9).denominator == 1:
            return _decimal(core), Decimal(each) * NANO
    raise ValueError(f"no core and GiB make up {shapes}")


def _decimal(value: Fraction) -> Decimal:
    return (Decimal(value.numerator) / value.denominator).quantize(NANO)


def with_noise(skus: Iterable[Sku]) -> list[Sku]:
    """These SKUs, each followed by what the catalogue has beside it: other ways to pay, other things, all cheaper."""
    made = [each for sku in skus for each in (sku, *(beside._replace(is_noise=True) for beside in _beside(sku)))]
    return list({sku_id(each): each for each in reversed(made)}.values())[::-1]


def _beside(sku: Sku) -> Iterator[Sku]:
    place, low = sku.regions[0], sku.usd / 2
    words = sku.description.removeprefix("Spot Preemptible ")
    if sku.service == CLOUD_TPU:
        yield sku._replace(description=f"Commitment: {words} for 1 Year", usage="Commit1Yr", usd=low)
        yield sku._replace(description=f"Reserved {words}", usd=low)
        yield sku._replace(group="TPUMemory", usd=low)
    elif sku.group == "TPU" and sku.usage == "OnDemand":
        chip = words.split()[0]
        short = chip.removeprefix("Tpu")
        yield sku._replace(description=f"Commitment v1: {words} for 3 Years", usage="Commit3Yr", usd=low)
        yield sku._replace(description=f"Reserved {chip} in {place} in Calendar Mode", usd=low)
        yield sku._replace(description=f"DWS Calendar Mode {short} running in {place}", usd=low)
        yield sku._replace(description=f"DWS Defined Duration {short} running in {place}", usd=low)
        yield sku._replace(description=f"Capacity Optimized {words}", usd=low)
    elif sku.group in ("CPU", "RAM"):
        custom = words.replace("Instance", "Custom Instance")
        yield sku._replace(description=custom, usd=low)
        yield sku._replace(description=words.replace("Instance", "Sole Tenancy Instance"), usd=low, usage="OnDemand")
        yield sku._replace(description=f"Memory Optimized Upgrade Premium for {words}", usd=low, usage="OnDemand")
    yield Sku(f"Nvidia L4 GPU running in {place}", "GPU", low, (place,))
    yield Sku(
        f"Network Egress from {place} {sku_id(sku)}",
        "PremiumInternetEgress",
        low,
        (place,),
        unit="GiBy",
        family="Network",
    )


def written(sku: Sku) -> dict[str, Any]:
    """The SKU as the catalogue writes it: units as text, nanos as a number."""
    units, rest = divmod(sku.usd.quantize(NANO), 1)
    price = {"currencyCode": sku.currency, "units": str(units), "nanos": int(rest / NANO)}
    rates = [{"startUsageAmount": sku.free_until, "unitPrice": price}]
    if sku.free_until:
        free = {"currencyCode": sku.currency, "units": "0", "nanos": 0}
        rates.insert(0, {"startUsageAmount": 0, "unitPrice": free})
    begins = datetime.fromtimestamp(sku.begins, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    expression = {"usageUnit": sku.unit, "displayQuantity": 1, "tieredRates": rates}
    id_ = sku_id(sku)
    return {
        "name": f"services/{sku.service}/skus/{id_}",
        "skuId": id_,
        "description": sku.description,
        "category": {
            "serviceDisplayName": SERVICES[sku.service],
            "resourceFamily": sku.family,
            "resourceGroup": sku.group,
            "usageType": sku.usage,
        },
        "serviceRegions": list(sku.regions),
        "pricingInfo": [
            {"summary": "", "pricingExpression": expression, "currencyConversionRate": 1, "effectiveTime": begins}
        ],
        "serviceProviderName": "Google",
    }


def sku_id(sku: Sku) -> str:
    """Three groups of four digits, the same for the same SKU."""

    what = (sku.service, sku.description, sku.group, sku.regions, sku.unit, sku.usage)
    digits = hashlib.sha256(repr(what).encode()).hexdigest().upper()
    return "-".join(digits[at : at + 4] for at in (0, 4, 8))
