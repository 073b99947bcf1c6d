"""What AWS says of rows of the price list now: list prices, spot prices, and who of it did not answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.listings import Answer, Listing, Shape, Unanswered

from .calls import Calls
from .list_prices import listed
from .spot_prices import spot

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey

ONE_ROW_S = 20.0


def refresh(rows: Sequence[Shape], seconds: float) -> Iterator[Answer]:
    """List and spot price of each row. Raises a provider error where AWS answered for none of them."""
    calls = Calls(seconds)
    yield from _unless_nothing([*listed(rows, calls), *spot(rows, calls)])


def price(key: OfferKey) -> Decimal | None:
    """US dollars an hour of one offer now; None when AWS sells it under no such price. Raises provider errors."""
    row = Shape(key.offer, key.region, key.zone, key.hardware, key.count, None, None)
    if key.market not in ("spot", "on_demand"):
        return None
    ask = spot if key.market == "spot" else listed
    found = _unless_nothing(list(ask([row], Calls(ONE_ROW_S))))
    return next(answer.usd_per_hour for answer in found if isinstance(answer, Listing))


def _unless_nothing(answers: list[Answer]) -> list[Answer]:
    """The answers. Raises the first error where there is nothing else."""
    errors = [answer.error for answer in answers if isinstance(answer, Unanswered)]
    if errors and not any(isinstance(answer, Listing) for answer in answers):
        raise errors[0]
    return answers
