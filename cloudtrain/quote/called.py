"""What an offer is called in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudtrain.quote.chips import chips
from cloudtrain.quote.ids import says_chips

if TYPE_CHECKING:
    from cloudtrain.offer import Offer


def machine(offer: Offer) -> str:
    """`2 x MI300X`, or the provider's own name for a host and where that is one word without them."""
    chip = chips().get(offer.hardware)
    if chip is None or chip.peak_unit == "per vCPU" or not (" " in offer.name or says_chips(offer)):
        return offer.name
    return f"{offer.count} x {chip.aliases[0] if chip.aliases else chip.name}"


def called(offer: Offer) -> str:
    """The machine with its provider, and the market where that is not the usual one."""
    market = f" ({offer.market.replace('_', ' ')})" if offer.market in ("spot", "units") else ""
    return machine(offer) if offer.market == "owned" else f"{offer.provider} {machine(offer)}{market}"
