"""Hot Aisle's machines with one to eight MI300X: for comparison, no stack makes them. Prices need a team's token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from cloudtrain.listings import Answer, Shape
from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the price list, one for each count of GPUs."""
    return read_offers(context.price_list("hotaisle"), "hotaisle", Reading())


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What Hot Aisle says of these rows now. Raises provider errors."""
    from . import machines

    return machines.answers(rows, seconds)


provider = PriceSource(
    "hotaisle",
    offers,
    terms=Terms(
        boot_s=Range(30, 120, 600),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(100e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=None,
        minimum_billed_s=60,
        source=(
            "the disk is part of the machine that is offered; address and a minute at least are from memory and what "
            "traffic costs is not known: snapshots/extra_costs.csv; boot, image and download are assumptions"
        ),
    ),
    credentials=("HOTAISLE_API_KEY", "HOTAISLE_TEAM_HANDLE"),
    refresh=refresh,
)
