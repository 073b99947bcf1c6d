"""Vultr's bare metal with eight MI300X, MI325X or MI355X: for comparison, no stack makes it. Prices need no key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from cloudtrain.listings import Answer, Shape
from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the price list; a row is of all places together, because a plan costs the same in each."""
    return read_offers(context.price_list("vultr"), "vultr", Reading())


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What Vultr's plans say of these rows now. Raises provider errors."""
    from . import plans

    return plans.answers(rows, seconds)


provider = PriceSource(
    "vultr",
    offers,
    terms=Terms(
        boot_s=Range(300, 900, 2400),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(200e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal("0.01"),
        minimum_billed_s=3600,
        source=(
            "disks and address are part of a bare metal plan, traffic out beyond what comes with it and an hour at "
            "least: snapshots/extra_costs.csv (from memory, never asked); boot, image and download are assumptions"
        ),
    ),
    refresh=refresh,
    keyless=True,
)
