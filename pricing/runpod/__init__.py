"""RunPod pods: one to eight MI300X, and NVIDIA pods for comparison. There is no spot market in its current API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.offer import Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from .._snapshot import Reading, read_offers

if TYPE_CHECKING:
    from cloudtrain.listings import Answer, Shape


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the catalogue."""
    return read_offers(context.price_list("runpod"), "runpod", Reading())


def refresh(rows: Sequence[Shape], seconds: float) -> Iterable[Answer]:
    """What RunPod asks for these rows now. Raises provider errors."""
    from . import catalogue

    return catalogue.answers(rows, seconds)


provider = PriceSource(
    "runpod",
    offers,
    terms=Terms(
        boot_s=Range(15, 60, 600),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(100e6, 400e6, 1e9),
        disk_usd_per_gb_month=Decimal("0.10"),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal(0),
        minimum_billed_s=1,
        source=(
            "container disk, traffic and billing per second: snapshots/extra_costs.csv (2026-08-20); no price for an "
            "address is listed and ports are part of a pod; an hour of credit must be there at the start; image: a 12 "
            "GB image pulls cold in 2 to 8 minutes (blog.zmalik.dev, February 2026); download and boot are assumptions"
        ),
    ),
    credentials=("RUNPOD_API_KEY",),
    refresh=refresh,
    keyless=True,
)
