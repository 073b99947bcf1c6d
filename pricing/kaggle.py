"""Kaggle notebooks: free of charge, by the weekly quota, on a TPU v5e-8."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cache

from cloudtrain.offer import Limits, Market, Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from ._snapshot import Reading, read_offers

_BY_HAND = "a person pushes the notebook to Kaggle: cloudtrain has no call that starts it"


@cache
def _limits(hardware: str, market: Market) -> Limits:
    """Kaggle's quota: 9 hours a session and 20 a week on a TPU, 12 and 30 on a GPU (kaggle 2.2.5, July 2026)."""
    if hardware.startswith("tpu"):
        return Limits(session_hours=9, weekly_hours=20, by_hand=_BY_HAND)
    return Limits(session_hours=12, weekly_hours=30, by_hand=_BY_HAND)


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the catalogue, all under the `free` market."""
    return read_offers(
        context.price_list("kaggle"), "kaggle", Reading(listed="free", zero_is_free=True, limits=_limits)
    )


provider = PriceSource(
    "kaggle",
    offers,
    terms=Terms(
        boot_s=Range(30, 180, 900),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(30e6, 100e6, 300e6),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal(0),
        minimum_billed_s=0,
        source=(
            "everything is free of charge: snapshots/extra_costs.csv (2026-07; 20 GB of output at most, internet only "
            "for an account verified by phone); Kaggle's own image is used; download and boot are assumptions"
        ),
        image_needed=False,
    ),
    credentials=("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"),
)
