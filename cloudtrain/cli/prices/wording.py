"""How prices, their changes and what is missing to renew them are said."""

from __future__ import annotations

from decimal import Decimal

from cloudtrain.units import money


def change(old: Decimal | None, new: Decimal | None) -> str:
    """`+12.5 %`; `new`, `gone` where there is nothing to compare, "" for the same."""
    if old is None or new is None:
        return "" if old is new else "new" if old is None else "gone"
    if old == new or not old:
        return "" if old == new else "new"
    moved = share(old, new)
    return f"{moved:+.1f} %" if abs(moved) < 100 else f"{moved:+,.0f} %"


def share(old: Decimal, new: Decimal) -> float:
    """By how many per cent it moved."""
    return float((new / old - 1) * 100)


def hourly(usd: Decimal | None) -> str:
    """Dollars an hour; `none` where it is not offered, or unknown."""
    return "none" if usd is None else money(usd)


def place(offer: str, region: str, zones: str, market: str) -> str:
    """One price of a list: `trn1.2xlarge us-east-1 use1-az5 spot`."""
    return " ".join(filter(None, (offer, region, zones, "" if market == "on_demand" else market)))


def number(count: int, what: str) -> str:
    """`1 price`, `3 prices`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
