"""What one machine costs now: a refresh of its row alone, of which nothing is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.errors import Rejected, Unavailable, UsageError

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

    from cloudtrain.listings import Shape
    from cloudtrain.offer import OfferKey
    from cloudtrain.providers import PriceSource

SECONDS = 20.0


def can_be_asked(source: PriceSource) -> bool:
    """Whether the provider can be asked for prices at all."""
    return source.refresh is not None


def price(source: PriceSource, key: OfferKey, price_list: Path, seconds: float = SECONDS) -> Decimal | None:
    """US dollars per hour now; None when it is not sold so, or cannot be asked for. Raises provider errors.

    `price_list` is the folder in which the row is looked up.
    """
    from cloudtrain.listings import Listing, Unanswered
    from cloudtrain.prices.gate import sentinel

    if source.refresh is None:
        return None
    shape = row_of(key, price_list)
    try:
        answers = tuple(source.refresh([shape], seconds))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise Rejected(f"{source.name} answers in an unexpected form ({type(error).__name__})") from error
    found = {
        answer.usd_per_hour
        for answer in answers
        if isinstance(answer, Listing) and answer[:4] == (*shape[:3], key.market) and answer.usd_per_hour is not None
    }
    for answer in answers:
        if not found and isinstance(answer, Unanswered) and answer.market in (None, key.market):
            raise answer.error
    if len(found) > 1:
        raise Unavailable(f"{source.name} answers with two prices for {key.offer}", "try again")
    for usd in found:
        if wrong := sentinel(shape, usd):
            raise Unavailable(f"{source.name} answers with what is no price: {wrong}", "try again")
        return usd
    return None


def row_of(key: OfferKey, price_list: Path) -> Shape:
    """The row of the list that the offer is of; without one, a row that says what the offer says.

    An offer's zones may be full names where the list has the letters that follow the region.
    """
    from cloudtrain.listings import Shape
    from cloudtrain.prices import table

    try:
        rows = table.parse((price_list / f"{key.provider}.csv").read_bytes(), key.provider).rows
        shapes = table.shapes(row for row in rows if (row["offer"], row["region"]) == (key.offer, key.region))
    except (OSError, ValueError, UsageError):
        shapes = []
    wanted = set(key.zone.split())
    for shape in shapes:
        zones = set(shape.zones.split())
        if wanted <= zones | {f"{key.region}-{zone}" for zone in zones}:
            return shape
    return Shape(key.offer, key.region, key.zone, key.hardware, key.count, None, None)
