"""What differs between two price lists."""

from __future__ import annotations

from decimal import Decimal

from cloudtrain.offer import Offer, Price
from cloudtrain.quote.lists.differences import differences


def offer(name: str, usd: str | None, as_of: str = "2026-11-01", market: str = "on_demand", gib: int = 1) -> Offer:
    """A rented machine."""
    price = None if usd is None else Decimal(usd)
    seen = Price("snapshot", as_of, "", "")
    return Offer("aws", name, "r1", "z1", "mi300x", 1, gib, None, None, market, price, seen)  # type: ignore[arg-type]


def test_only_prices_that_differ_are_listed() -> None:
    """With both prices, both days and how far apart they are; another day alone is no difference."""
    old = [offer("x1", "2.00"), offer("x2", "3"), offer("x3", "4")]
    new = [offer("x1", "2.50", "2026-11-24"), offer("x2", "3", "2026-11-24"), offer("x3", "4.0")]
    (found,) = differences(old, new)
    assert (found.id, found.old, found.new, found.change) == ("aws/x1/z1", Decimal(2), Decimal("2.5"), 0.25)
    assert (found.old_as_of, found.new_as_of) == ("2026-11-01", "2026-11-24")


def test_a_row_that_one_list_lacks_has_no_price_there() -> None:
    """A spot price that went, one that came, and one that became unknown."""
    old = [offer("x1", "2"), offer("x1", "1", market="spot"), offer("x2", "3")]
    new = [offer("x1", "2"), offer("x2", None), offer("x2", "1", market="spot")]
    found = {each.id: (each.old, each.new, each.change) for each in differences(old, new)}
    assert found == {
        "aws/x1/z1/spot": (Decimal(1), None, None),
        "aws/x2/z1": (Decimal(3), None, None),
        "aws/x2/z1/spot": (None, Decimal(1), None),
    }


def test_offers_that_are_named_alike_are_compared_in_their_order() -> None:
    """The second with the second; each has an id of its own."""
    old = [offer("x1", "2", gib=1), offer("x1", "3", gib=2)]
    new = [offer("x1", "2", gib=1), offer("x1", "4", gib=2)]
    (found,) = differences(old, new)
    assert (found.id, found.old, found.new) == ("aws/x1/z1~2", Decimal(3), Decimal(4))
