"""What one SKU of Google's catalogue prices: which chip, core or memory, under which market, where, and for how much.

Google joins machines and SKUs by nothing but the description's words, so these are matched whole: what is worded in
another way (commitments, reservations, calendar mode, flex-start) prices nothing here. README.md has the forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from cloudtrain.offer import Market

from .._snapshot import HIGHEST_USD_PER_TPU_HOUR, LOWEST_USD_PER_TPU_HOUR

COMPUTE_ENGINE, CLOUD_TPU = "6F81-5844-456A", "E000-3F24-B8AA"
# Generation of a TPU -> the service whose SKUs price it, and chips in one unit: v2 to v4 are sold by eight cores.
TPU_UNITS = {
    **dict.fromkeys(("v2", "v3", "v4"), (CLOUD_TPU, 4)),
    **dict.fromkeys(("v5e", "v5p", "v6e", "7x"), (COMPUTE_ENGINE, 1)),
}
GIB_PER_GB_HOUR = Decimal(2**30) / 10**9  # C4D's memory is priced by the GB of 10^9 bytes, that of others by the GiB
UNITS = {"core": {"h": Decimal(1)}, "ram": {"GiBy.h": Decimal(1), "GBy.h": GIB_PER_GB_HOUR}, "tpu": {"h": Decimal(1)}}
GROUPS = {"core": ("CPU", "N1Standard"), "ram": ("RAM", "N1Standard"), "tpu": ("TPU",)}
POD = {"v2": (False, True), "v3": (False, True), "v4": (True,)}  # sold as a device, in pods, or both; others alike
# Dollars an hour of one, outside of which a figure is a filler or for a whole: far below and above all that are known.
BOUNDS = {
    "tpu": (LOWEST_USD_PER_TPU_HOUR, HIGHEST_USD_PER_TPU_HOUR),
    "core": (Decimal("0.0005"), Decimal(1)),
    "ram": (Decimal("0.00005"), Decimal("0.1")),
}
CLOCKS_DIFFER = timedelta(hours=1)

_SPOT = r"(?:spot preemptible|preemptible|spot)"
_TPU = re.compile(rf"({_SPOT} )?tpu[ -]?v?(7x|\d+[ep])( attached to {_SPOT} vms| {_SPOT})? running in .+", re.I)
_OLD_TPU = re.compile(rf"({_SPOT} )?tpu-v([234])(?:[ -](.*))?", re.I)  # the words after it are in any order
_HOST = re.compile(
    rf"({_SPOT} )?(?:([a-z]+\d[a-z0-9]*)(?: amd| arm| predefined| memory-optimized)?|memory-optimized)"
    r" ?instance (core|ram) running in .+",
    re.I,
)
# Other ways to pay for the same thing, whatever the rest of the description says.
_OTHERWISE = re.compile(
    r"commit|reserv|sole.?ten|custom|premium|calendar|\bdws\b|defined duration|flex|capacity|subscription|suspend",
    re.I,
)


class Good(NamedTuple):
    """What is priced, by the hour: `v6e` (a chip), `v3 pod` (a chip of one), `n4d core`, `n4d ram` (a GiB)."""

    name: str
    sort: str  # tpu, core, ram
    units: int  # how many of it one unit of the SKU is


class Priced(NamedTuple):
    """What a SKU says. `usd`: None where it is not believed, and then why."""

    good: str
    market: Market
    regions: tuple[str, ...]
    usd: Decimal | None
    why: str = ""


def priced(sku: Mapping[str, Any], service: str, now: datetime) -> Priced | None:
    """What a SKU of a service prices; None for everything that is none of ours."""
    category, description, regions = sku.get("category"), sku.get("description"), sku.get("serviceRegions")
    if not (isinstance(category, Mapping) and isinstance(description, str) and isinstance(regions, list)):
        return None
    usage = category.get("usageType")
    found = described(description, service)
    if found is None or usage not in ("OnDemand", "Preemptible"):
        return None
    good, is_spot = found
    if category.get("resourceGroup") not in GROUPS[good.sort]:
        return None
    market: Market = "spot" if is_spot or usage == "Preemptible" else "on_demand"
    usd, why = _price(sku.get("pricingInfo"), good, now)
    return Priced(good.name, market, tuple(each for each in regions if isinstance(each, str)), usd, why)


def described(description: str, service: str) -> tuple[Good, bool] | None:
    """What a description names, and whether it says spot (spot SKUs carry the usage type of on-demand ones too)."""
    words = " ".join(description.split())
    if _OTHERWISE.search(words):
        return None
    if found := _TPU.fullmatch(words):
        good = _chip(found[2].lower() if found[2].lower() == "7x" else f"v{found[2].lower()}", False, service)
        return None if good is None else (good, bool(found[1] or found[3]))
    if found := _OLD_TPU.fullmatch(words):
        rest = (found[3] or "").lower().split()
        good = _chip(f"v{found[2]}", "pod" in rest, service)
        return None if good is None else (good, bool(found[1] or {"preemptible", "spot"} & set(rest)))
    found = _HOST.fullmatch(words) if service == COMPUTE_ENGINE else None
    if found is None:
        return None
    family, sort = (found[2] or "m1").lower(), found[3].lower()  # the first memory-optimised family has no name
    return Good(f"{family} {sort}", sort, 1), bool(found[1])


def _chip(generation: str, is_pod: bool, service: str) -> Good | None:
    """A chip of this generation; None where the service does not sell it, or not in this way."""
    sold_by, units = TPU_UNITS.get(generation, ("", 0))
    if sold_by != service or is_pod not in POD.get(generation, (False,)):
        return None
    return Good(f"{generation} pod" if is_pod else generation, "tpu", units)


def _price(timeline: Any, good: Good, now: datetime) -> tuple[Decimal | None, str]:
    """Dollars for one of the good, or None and why the figure is not believed."""
    expression, why = _in_force(timeline, now)
    if expression is None:
        return None, why
    factor = UNITS[good.sort].get(str(expression.get("usageUnit")))
    if factor is None:
        return None, "its unit is another"
    usd, why = _first_paid(expression.get("tieredRates"))
    if usd is None:
        return None, why
    usd = usd * factor / good.units
    lowest, highest = BOUNDS[good.sort]
    if not lowest <= usd <= highest:
        return None, f"{usd:.6g} dollars are no price of one"
    return usd, ""


def _in_force(timeline: Any, now: datetime) -> tuple[Mapping[str, Any] | None, str]:
    """The pricing expression that holds now: the newest one that has begun."""
    newest: datetime | None = None
    found: Mapping[str, Any] | None = None
    for entry in timeline if isinstance(timeline, list) else ():
        expression = entry.get("pricingExpression") if isinstance(entry, Mapping) else None
        if not isinstance(expression, Mapping):
            continue
        try:
            begins = datetime.fromisoformat(str(entry.get("effectiveTime")))
            is_newer = begins <= now + CLOCKS_DIFFER and (newest is None or begins >= newest)
        except (ValueError, TypeError):
            continue
        if is_newer:
            newest, found = begins, expression
    return found, "" if found is not None else "no price of it holds yet, or it has no date"


def _first_paid(rates: Any) -> tuple[Decimal | None, str]:
    """Dollars of the first rate that costs anything: the ones before it are free of charge up to some use."""
    for rate in rates if isinstance(rates, list) else ():
        price = rate.get("unitPrice") if isinstance(rate, Mapping) else None
        if not isinstance(price, Mapping):
            return None, "it has no price"
        if price.get("currencyCode") != "USD":
            return None, "its price is not in US dollars"
        units, nanos = _integer(price.get("units", "0")), _integer(price.get("nanos", Decimal(0)))
        if units is None or nanos is None or nanos >= 10**9:
            return None, "its price cannot be read"
        if units or nanos:
            return units + nanos / Decimal(10**9), ""
    return None, "its price is 0"


def _integer(value: Any) -> Decimal | None:
    """A whole number that is not negative; units come as text, as all 64-bit integers of this API do."""
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 10:
        return Decimal(value)
    whole = (
        isinstance(value, Decimal) and value.is_finite() and 0 <= value < 10**9 and value == value.to_integral_value()
    )
    return value if whole else None
