"""The order in which places are tried, and the memory of full ones."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from cloudtrain.offer import Offer, Price
from cloudtrain.quote.row import QuoteRow
from cloudtrain.runs import candidates
from cloudtrain.state.store import LocalFolder


def line(provider: str, name: str, zone: str, usd: str) -> QuoteRow:
    """A viable line that costs so many dollars to finish."""
    price = Price("snapshot", "2026-11-01", "", "")
    offer = Offer(provider, name, "r", zone, "cpu", 1, 1, 1, 1, "spot", Decimal(usd), price)
    extras = SimpleNamespace(hourly_usd=Decimal(0), fixed_usd=Decimal(0))
    hours: Any = SimpleNamespace(low=1.0, likely=1.0, high=1.0, __iter__=None)
    case: Any = SimpleNamespace(billed_hours=Bounds(1.0, 1.0, 1.0), extras=extras, hours=hours, loads="yes")
    return QuoteRow(offer, case, float(usd), True)


class Bounds(tuple):  # type: ignore[type-arg]  # low, likely, high of a range
    def __new__(cls, *bounds: float) -> Bounds:
        return super().__new__(cls, bounds)

    @property
    def high(self) -> float:
        return float(self[2])


A1, A2 = line("a", "small", "z1", "1"), line("a", "small", "z2", "3")
A_BIG, B = line("a", "big", "z1", "4"), line("b", "other", "z1", "2")


def order(*lines: QuoteRow, full: dict[str, float] | None = None) -> list[str]:
    return [found.key.place for found in candidates.in_order(lines, full or {}, 100.0)]


def test_the_order_is_cheapest_its_zones_its_provider_the_others() -> None:
    """A dearer zone of the same machine is tried before a cheaper provider: data and credentials are there already."""
    assert order(B, A_BIG, A2, A1) == [found.key.place for found in (A1, A2, A_BIG, B)]


def test_a_full_place_comes_last_for_a_while() -> None:
    """It is not given up: when everything is full it is still tried."""
    key = A1.key.place
    assert order(A1, A2, B, full={key: 200.0})[-1] == key
    assert order(A1, A2, B, full={key: 50.0})[0] == key
    assert order(A1, full={key: 200.0}) == [key]


def test_nothing_to_try_is_an_empty_list() -> None:
    """No line, no order."""
    assert candidates.in_order([], {}, 0.0) == []


def test_a_line_with_several_zones_is_tried_in_each() -> None:
    """Zones are separated by blanks in an offer."""
    several = line("a", "small", "z1 z2 z3", "1")
    assert [found.offer.zone for found in candidates.by_zone(several)] == ["z1", "z2", "z3"]
    assert [found.offer.zone for found in candidates.by_zone(line("a", "x", "", "1"))] == [""]


def test_full_places_are_kept_in_the_state_and_forgotten(store: LocalFolder) -> None:
    """What was full ten minutes ago is not written on."""
    candidates.remember_full(store, A1.key, 1000.0)
    candidates.remember_full(store, B.key, 1000.0 + candidates.FULL_FOR_S + 1)
    assert set(candidates.full_places(store)) == {B.key.place}
