"""How old prices are, as a quote and the doctor say it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudtrain.offer import Offer, Price
from cloudtrain.prices.ages import age_days
from cloudtrain.quote import ages

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


def price(as_of: str, since: str = "") -> Price:
    """A price of a snapshot."""
    return Price("snapshot", as_of, "", "", since)


def offer(provider: str, paid: Price, usd: str | None = "2") -> Offer:
    """A rented machine."""
    money = None if usd is None else Decimal(usd)
    return Offer(provider, "x1", "r", "z", "mi300x", 1, 10**9, None, None, "on_demand", money, paid)


def test_a_price_counts_from_the_first_day_of_its_range() -> None:
    """Of June to August: 182 days may have passed, 91 have for certain."""
    assert ages.ages([price("2026-08-31", "2026-06-01")], NOW) == ages.Ages(91, 182)
    assert ages.ages([price("2026-11-20")], NOW) == ages.Ages(10, 10)
    assert ages.ages([price("")], NOW) is None


def test_every_provider_has_ages_of_its_own() -> None:
    """One old row of one provider says nothing of another; rows without a price or a day count for nothing."""
    found = ages.by_provider(
        [
            offer("aws", price("2026-08-31", "2026-06-01")),
            offer("runpod", price("2026-11-28")),
            offer("runpod", price("2025-01-01"), None),
            offer("local", price("")),
        ],
        NOW,
    )
    assert {name: str(age) for name, age in found.items()} == {"aws": "91 to 182", "runpod": "2"}


@pytest.mark.parametrize(
    ("as_of", "words"),
    [("2026-09-01", "stale from 2026-12-01 on"), ("2026-08-31", "as stale, unless aws"), ("", "as stale, unless aws")],
)
def test_the_day_of_refusal_is_that_of_the_launch(as_of: str, words: str) -> None:
    """More than 90 days after the last day of the range, or of unknown age: as `live_price.check` decides."""
    first, then = ages.refusal(offer("aws", price(as_of, "2026-06-01")), NOW)
    assert words in first
    assert "--accept-stale" in then
    days = age_days(as_of, NOW)
    assert ("from" not in first) == (days is None or days > 90)


@pytest.mark.parametrize(("as_of", "stale"), [("2026-11-16", False), ("2026-11-15", True), ("", True)])
def test_a_spot_price_is_stale_after_two_weeks(as_of: str, stale: bool) -> None:
    """A list price keeps for three months, so the same day refuses one and not the other."""
    spot = offer("aws", price(as_of))._replace(market="spot")
    assert ages.is_refused(spot, NOW) is stale
    assert ages.is_refused(spot._replace(market="on_demand"), NOW) is (as_of == "")
    assert ("from 2026-12-01 on" in ages.refusal(spot, NOW)[0]) is not stale


def test_an_old_spot_price_is_warned_of_after_days() -> None:
    """Four days are old for spot and new for a list."""
    listed = offer("aws", price("2026-11-26"))
    assert not ages.is_worth_a_warning([listed], NOW)
    assert ages.is_worth_a_warning([listed, listed._replace(market="spot")], NOW)
    assert ages.is_worth_a_warning([listed._replace(price=price("2026-10-30"))], NOW)


def test_who_cannot_be_asked_is_not_offered_for_it() -> None:
    """Colab's rates are confirmed by nobody, so one flag is all that helps; an owned machine has no such price."""
    (only,) = ages.refusal(offer("colab", price("2026-08-01")), NOW)
    assert only == "`up` refuses its price as stale: --accept-stale starts all the same"
    assert ages.refusal(offer("local", Price("settings", "", "", ""))._replace(market="owned"), NOW) == []


def test_a_refusal_names_the_command_that_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it lacks here, beside the flag that starts all the same."""
    from tests.price_answers import answering, selling

    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    answering(monkeypatch, "runpod", selling(lambda row: "1"), keyless=False)
    first, then = ages.refusal(offer("runpod", price("2026-08-01")), NOW)
    assert first == "`up` refuses its price as stale, unless runpod confirms it:"
    said = "`cloudtrain prices refresh --provider runpod` renews it, which needs credentials (RUNPOD_API_KEY)"
    assert then == f"{said}, or --accept-stale"
