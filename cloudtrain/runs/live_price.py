"""The price at launch: how old the quoted one is, what the provider asks now, and when that stops a launch."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import OverBudget, ProviderError, UsageError
from cloudtrain.prices import one_row
from cloudtrain.prices.ages import age_days, keeps
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import catalog, renewal
from cloudtrain.units import money

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.records import RowRecord

TOLERANCE = Decimal("1.10")  # a live price further above the quote than this stops


class Checked(NamedTuple):
    """The price that a launch may count on, in US dollars per hour, and a message about it."""

    usd_per_hour: Decimal | None
    message: str


def check(line: RowRecord, now: float, accept_stale: bool) -> Checked:
    """Compare a quoted row with what its provider asks now.

    Raises OverBudget when that is more than a tenth above the quote, and UsageError when the quoted price is older than
    90 days (of spot: 14) and could be neither renewed nor is accepted.
    """
    quoted = line.price_usd_per_hour
    limit = keeps(line.market)
    days = age_days(line.price.as_of, now)
    live, why_not = ask(line.key)
    if live is not None and quoted is not None:
        if live > quoted * TOLERANCE:
            raise OverBudget(
                f"{line.offer} costs {money(live)}/h now, "
                f"{float(live / quoted - 1):.0%} above the quoted {money(quoted)}/h",
                "quote again with a fresh catalogue, or choose another offer",
            )
        return Checked(live, f"{money(live)}/h, asked from {line.provider} now (quoted {money(quoted)}/h)")
    if days is None or days > limit.stale:
        age = "of unknown age" if days is None else f"{days} days old"
        if not accept_stale:
            raise UsageError(
                f"the price of {line.offer} is {age} and could not be checked: {why_not}",
                renewing(line.provider),
            )
        return Checked(quoted, f"{money(quoted)}/h, {age}, accepted unchecked")
    warning = "warning: " if days > limit.warn else ""
    return Checked(quoted, f"{warning}{money(quoted)}/h, {days} days old, not checked: {why_not}")


def renewing(provider: str) -> str:
    """What to do about a stale price: lines of a hint."""
    renews = renewal.advice(provider)
    if renews:
        return f"{renews}\n--accept-stale starts all the same"
    return "--accept-stale starts all the same; set the provider's credentials to have it checked"


def ask(key: OfferKey) -> tuple[Decimal | None, str]:
    """What the provider asks for it now, or None and why that is not known."""
    source = load("pricing", key.provider, PriceSource)
    if not one_row.can_be_asked(source):
        return None, f"{key.provider} cannot be asked for prices"
    try:
        live = one_row.price(source, key, catalog.lists().price_list(key.provider))
    except ProviderError as error:
        return None, error.message
    return live, "" if live is not None else f"{key.provider} lists no price for it"
