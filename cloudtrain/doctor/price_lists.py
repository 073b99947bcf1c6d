"""How old the price list of each provider is, and what would renew it; nobody is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from cloudtrain.providers import Finding, PriceSource, load, names
from cloudtrain.quote import ages, renewal

if TYPE_CHECKING:
    from cloudtrain.offer import Offer


def findings(name: str, now: float, offers: Callable[[str], Sequence[Offer]]) -> Iterator[Finding]:
    """One of a provider that can be asked for its prices, else none. `offers` gives what its price list has."""
    if name in names("pricing") and load("pricing", name, PriceSource).refresh is not None:
        yield finding(name, offers(name), now)


def finding(name: str, offers: Sequence[Offer], now: float) -> Finding:
    """One provider's: `unknown` where credentials are missing, because its age can then only grow."""
    found = ages.by_provider(offers, now).get(name)
    age = "without a price" if found is None else f"{found} days old"
    lacks = renewal.needs(name)
    message = f"{age}; {renewal.advice(name)}"
    return Finding("price list", "unknown" if lacks else "ok", message, barring=False)
