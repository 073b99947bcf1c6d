"""What AWS says of rows of the price list now: list prices, spot prices, and who of it did not answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cloudtrain.listings import Answer, Listing, Shape, Unanswered

from .calls import Calls
from .list_prices import listed
from .spot_prices import spot


def answers(rows: Sequence[Shape], seconds: float) -> Iterator[Answer]:
    """List and spot price of each row. Raises a provider error where AWS answered for none of them."""
    calls = Calls(seconds)
    found = [*listed(rows, calls), *spot(rows, calls)]
    errors = [answer.error for answer in found if isinstance(answer, Unanswered)]
    if errors and not any(isinstance(answer, Listing) for answer in found):
        raise errors[0]
    yield from found
