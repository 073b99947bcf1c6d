"""What a price source is asked for in a refresh, and what its provider answered: prices and stock, never shapes.

What a machine is (chips, memory, whether it trains) stays what the shipped price list says. So an answer names a row of
that list and a market, and brings dollars and stock; when it was given is written down by whoever keeps it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cloudtrain.errors import ProviderError
    from cloudtrain.offer import Market


class Shape(NamedTuple):
    """One row of a price list without its prices: what a refresh asks about.

    `offer`, `region` and `zones` are the row's cells as they stand and name it. `count` is chips, or vCPUs of a
    processor; sizes are of the whole machine, None where the list does not know. `api` is the cell of that name.
    """

    offer: str
    region: str
    zones: str
    hardware: str  # a key of the accelerator table, `nvidia` or "" when the table has no such chip
    count: int  # type: ignore[assignment]  # shadows tuple.count
    vcpus: int | None
    ram_gib: float | None
    api: str = ""


class Listing(NamedTuple):
    """What a provider says of one row under one market: dollars an hour for all of it; None: asked, and not sold.

    `stock` is "", or the provider's word for how many there are (`none`, `low`, `medium`, `high`).
    """

    offer: str
    region: str
    zones: str
    market: Market
    usd_per_hour: Decimal | None
    source: str  # which of its interfaces said so, for people: "DescribeSpotPriceHistory"
    stock: str = ""


class Unanswered(NamedTuple):
    """A part of a provider that did not answer: rows of `region` ("" for all) keep their prices and their dates.

    Of one market alone where it is named; what else was said of such rows is not taken.
    """

    region: str
    error: ProviderError
    market: Market | None = None


class Unlisted(NamedTuple):
    """Something of our kinds of chips that is sold, but is no row of the list: counted and named, never added."""

    offer: str
    region: str


Answer = Listing | Unanswered | Unlisted
