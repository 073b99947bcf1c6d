"""Colab: paid by compute units (9.99 dollars per 100), and the free TPU; a person opens the notebook."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from functools import cache

from cloudtrain.offer import Limits, Market, Offer, Range, Terms
from cloudtrain.providers import Context, PriceSource

from ._snapshot import Reading, read_offers


@cache
def _limits(hardware: str, market: Market) -> Limits:
    """About 1.5 hours on the free TPU (a user's report, colabtools issue 5566); 12 where units are bought.

    24 hours in the background are Pro+ (49.99 dollars a month, `extra_costs.csv`), which few have; the 12 are from a
    copy of Colab's questions and answers, of 2021.
    """
    if market == "free":
        return Limits(
            session_hours=1.5,
            by_hand="open the notebook yourself: the terms of the free tier forbid driving it by a program",
        )
    return Limits(
        session_hours=12,
        by_hand="open the notebook yourself: Colab has no dependable call that starts it",
        purchase_usd=Decimal("9.99"),
    )


def offers(context: Context) -> Iterable[Offer]:
    """The dated rows of the catalogue: compute units as dollars under `units`, the free tier under `free`."""
    return read_offers(context.price_list("colab"), "colab", Reading(listed="units", zero_is_free=True, limits=_limits))


provider = PriceSource(
    "colab",
    offers,
    terms=Terms(
        boot_s=Range(10, 60, 300),
        image_bytes_per_s=Range(25e6, 50e6, 100e6),
        download_bytes_per_s=Range(30e6, 100e6, 300e6),
        disk_usd_per_gb_month=Decimal(0),
        address_usd_per_hour=Decimal(0),
        egress_usd_per_gb=Decimal(0),
        minimum_billed_s=0,
        source=(
            "compute units pay for the whole machine, idle time included: snapshots/extra_costs.csv (2026-07); that "
            "disk and traffic are part of it is from memory; Colab's own image is used; download and boot are "
            "assumptions"
        ),
        image_needed=False,
    ),
)
