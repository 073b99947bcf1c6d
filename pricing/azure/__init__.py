"""Azure's ND_MI300X_v5, eight MI300X in one machine: for comparison, no stack makes it. Prices need no key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from cloudtrain.listings import Answer, Shape
from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the price list, one for each region."""
    return read_offers(context.price_list("azure"), "azure", Reading())


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What Azure's retail prices say of these rows now. Raises provider errors."""
    from . import meters

    return meters.answers(rows, seconds)


provider = PriceSource(
    "azure",
    offers,
    terms=Terms(
        boot_s=Range(120, 300, 900),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(200e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal("0.15"),
        address_usd_per_hour=Decimal("0.005"),
        egress_usd_per_gb=Decimal("0.087"),
        minimum_billed_s=60,
        source=(
            "premium SSD, IPv4, traffic out after the first 100 GB a month, a minute at least: "
            "snapshots/extra_costs.csv (from memory, never asked); boot, image and download are assumptions"
        ),
    ),
    refresh=refresh,
    keyless=True,
)
