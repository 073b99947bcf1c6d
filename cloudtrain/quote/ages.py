"""How old prices are: what a quote and the doctor say of it, and when `up` takes one no longer unasked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.prices.ages import age_days, keeps
from cloudtrain.prices.one_row import can_be_asked
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import renewal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudtrain.offer import Offer, Price


class Ages(NamedTuple):
    """Days since the latest and since the earliest day on which some prices may have been seen."""

    youngest: int
    oldest: int

    def __str__(self) -> str:
        """`4`, or `4 to 91`."""
        return str(self.oldest) if self.youngest == self.oldest else f"{self.youngest} to {self.oldest}"


def ages(prices: Iterable[Price], now: float) -> Ages | None:
    """How old these prices are; None when that is known of none."""
    known = set(prices)
    youngest = age_days(max((price.as_of for price in known), default=""), now)
    oldest = age_days(min((price.since or price.as_of for price in known if price.as_of), default=""), now)
    return None if youngest is None or oldest is None else Ages(youngest, oldest)


def by_provider(offers: Iterable[Offer], now: float) -> dict[str, Ages]:
    """How old the prices of each provider are, of those that have a day."""
    prices: dict[str, set[Price]] = {}
    for offer in offers:
        if offer.price.as_of and offer.usd_per_hour is not None:
            prices.setdefault(offer.provider, set()).add(offer.price)
    return {name: found for name in sorted(prices) if (found := ages(prices[name], now)) is not None}


def is_worth_a_warning(offers: Iterable[Offer], now: float) -> bool:
    """Whether one of these prices may be older than its kind of price keeps."""
    oldest: dict[tuple[str, str], bool] = {}
    for offer in offers:
        if offer.price.as_of and offer.usd_per_hour is not None:
            key = (offer.price.since or offer.price.as_of, offer.market)
            if key not in oldest:
                oldest[key] = (age_days(key[0], now) or 0) > keeps(offer.market).warn
    return any(oldest.values())


def refused_from(offer: Offer) -> str:
    """The first day (YYYY-MM-DD) on which `up` refuses the price unasked; empty when it is of unknown age."""
    if not offer.price.as_of:
        return ""
    days = keeps(offer.market).stale + 1
    return (datetime.fromisoformat(offer.price.as_of) + timedelta(days=days)).date().isoformat()


def is_refused(offer: Offer, now: float) -> bool:
    """Whether `up` refuses the price of an offer as stale now, unless its provider confirms it."""
    if offer.market in ("owned", "free") or offer.price.origin != "snapshot":
        return False
    days = age_days(offer.price.as_of, now)
    return days is None or days > keeps(offer.market).stale


def refusal(offer: Offer, now: float) -> list[str]:
    """When `up` would refuse the price of an offer as stale, and what to do then; nothing where nothing is rented."""
    if offer.market in ("owned", "free") or offer.price.origin != "snapshot":
        return []
    first = refused_from(offer)
    today = datetime.fromtimestamp(now, UTC).date().isoformat()
    stale = f"`up` refuses its price as stale from {first} on" if first > today else "`up` refuses its price as stale"
    if not can_be_asked(load("pricing", offer.provider, PriceSource)):
        return [f"{stale}: --accept-stale starts all the same"]
    renews = renewal.advice(offer.provider)
    return [
        f"{stale}, unless {offer.provider} confirms it:",
        f"{renews}, or --accept-stale"
        if renews
        else f"set its credentials (`cloudtrain doctor {offer.provider}` checks them), or --accept-stale",
    ]
