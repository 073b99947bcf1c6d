"""What one machine costs now: a refresh of its row alone, of which nothing is kept."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.providers import PriceSource

SECONDS = 20.0


def can_be_asked(source: PriceSource) -> bool:
    """Whether the provider can be asked for prices at all."""
    return source.refresh is not None or source.live is not None


def price(source: PriceSource, key: OfferKey, price_list: Path, seconds: float = SECONDS) -> Decimal | None:
    """US dollars per hour now; None when it is not sold so. Raises provider errors."""
    raise NotImplementedError
