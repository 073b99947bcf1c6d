"""The tiny cloud's price list: one machine. A test drops this in as `pricing/tiny.py`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from cloudtrain.offer import Offer, Price, Range, Terms
from cloudtrain.providers import Context, PriceSource


def offers(context: Context) -> Iterable[Offer]:
    price = Price("snapshot", "2026-11-20", "the tiny cloud's page", "VERIFIED")
    yield Offer(
        "tiny", "t1", "here", "", "cpu-amx", 16, 64 * 2**30, 16, 64 * 2**30, "on_demand", Decimal("0.50"), price
    )


provider = PriceSource(
    "tiny",
    offers,
    Terms(
        Range(1, 2, 3), Range(1e8, 1e8, 1e8), Range(1e8, 1e8, 1e8), Decimal(0), Decimal(0), Decimal(0), 1, "invented"
    ),
)
