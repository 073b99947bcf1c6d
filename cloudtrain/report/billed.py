"""How far a provider's bill is from what was metered, and which sort of cost explains it most likely."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.units import money

if TYPE_CHECKING:
    from cloudtrain.records import BillRecord

TOLERATED = Decimal("0.10")  # of what was metered
MINIMUM_S = 120.0  # a shorter run may have been billed for the shortest time that its provider bills
LARGER = {
    "compute": "another price than at launch, or it stood for longer than is known",
    "disk": "more disk than was quoted, or one that outlived its machine",
    "egress": "more was sent out of its region than was quoted",
    "address": "a public address that was not quoted",
    "tax": "taxes",
    "other": "costs of a sort that no quote has",
}
SMALLER = {
    "compute": "another price than at launch, or a credit",
    "credit": "a credit",
    "disk": "less disk than was quoted",
    "egress": "less was sent out of its region than was quoted",
    "address": "no public address was billed",
}


def remark(metered: Mapping[str, Decimal | None], metered_s: float, bill: BillRecord) -> str:
    """A sentence when the bill differs from what was metered, by sort of cost, by more than a tenth; else "".

    A provisional bill that is lower may still grow, and is no deviation.
    """
    if any(usd is None for usd in metered.values()):
        return "what was metered has no price to compare the bill with"
    by_sort = {sort: usd or Decimal(0) for sort, usd in metered.items()}
    total = sum(by_sort.values(), Decimal(0))
    off = bill.usd - total
    if abs(off) <= TOLERATED * total or (off < 0 and bill.status == "provisional"):
        return ""
    share = f"{abs(off) / total:.0%} " if total else ""
    direction = "more" if off > 0 else "less"
    return f"{share}{direction} than the metered {money(total)}; likely cause: {cause(by_sort, metered_s, bill)}"


def cause(metered: Mapping[str, Decimal], metered_s: float, bill: BillRecord) -> str:
    """The sort of cost that differs most in the direction in which the sum does."""
    sorts = dict.fromkeys([*metered, *bill.parts])
    by_sort = {sort: bill.parts.get(sort, Decimal(0)) - metered.get(sort, Decimal(0)) for sort in sorts}
    if bill.usd > sum(metered.values(), Decimal(0)):
        worst = max(by_sort, key=lambda sort: by_sort[sort])
        if worst == "compute" and metered_s < MINIMUM_S:
            return "the shortest time that the provider bills"
        return LARGER.get(worst, LARGER["other"])
    worst = min(by_sort, key=lambda sort: by_sort[sort])
    return SMALLER.get(worst, "a credit")
