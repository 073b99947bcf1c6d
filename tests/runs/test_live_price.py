"""The price at launch: live, quoted, old, or dearer than was said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.errors import OverBudget, Unavailable, UsageError
from cloudtrain.listings import Listing
from cloudtrain.providers import PriceSource, load
from cloudtrain.records import PriceRecord, RowRecord
from cloudtrain.runs import live_price
from tests.records import row

NOW = 1795600000.0  # 2026-11-25
LINE = row(
    provider="aws",
    offer="trn1.2xlarge",
    price=PriceRecord(origin="snapshot", as_of="2026-11-20", source="", confidence=""),
)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set what the provider asks now; an exception is raised."""

    def answer(value: Any) -> None:
        def ask(rows: Any, seconds: float) -> Any:
            if isinstance(value, Exception):
                raise value
            return [Listing(*rows[0][:3], LINE.key.market, value, "the test")]

        source = load("pricing", "aws", PriceSource)._replace(refresh=ask)
        monkeypatch.setattr(live_price, "load", lambda *_: source)

    return answer


def old(days: str) -> RowRecord:
    return LINE.replace(price=LINE.price.replace(as_of=days))


def test_a_live_price_up_to_a_tenth_above_counts(live: Any) -> None:
    """The launch goes on at the price of now."""
    live(Decimal("1.10"))
    assert live_price.check(LINE, NOW, False).usd_per_hour == Decimal("1.10")


def test_more_than_a_tenth_above_stops(live: Any) -> None:
    """Both prices are in the sentence."""
    live(Decimal("1.11"))
    with pytest.raises(OverBudget) as stopped:
        live_price.check(LINE, NOW, True)
    assert "$1.11/h now" in stopped.value.message
    assert "$1.00/h" in stopped.value.message


def test_a_live_price_renews_an_old_row(live: Any) -> None:
    """Age does not matter when the provider has answered."""
    live(Decimal("1.00"))
    assert live_price.check(old("2025-01-01"), NOW, False).usd_per_hour == Decimal("1.00")


def test_an_old_price_that_cannot_be_checked_needs_consent(live: Any) -> None:
    """Over 90 days, or of unknown age: refused, with the reason; accepted when told."""
    live(Unavailable("no answer"))
    for as_of in ("2026-08-20", ""):
        with pytest.raises(UsageError) as refused:
            live_price.check(old(as_of), NOW, False)
        assert "no answer" in refused.value.message
        assert "--accept-stale" in refused.value.hint
        assert live_price.check(old(as_of), NOW, True).usd_per_hour == Decimal("1.00")


def test_a_price_of_two_months_warns(live: Any) -> None:
    """Between 30 and 90 days."""
    live(None)
    assert live_price.check(old("2026-10-01"), NOW, False).message.startswith("warning: ")
    assert not live_price.check(LINE, NOW, False).message.startswith("warning: ")


def test_a_source_that_cannot_be_asked_says_so() -> None:
    """A notebook that a person starts has a quota and no price."""
    line = LINE.replace(provider="kaggle")
    assert "cannot be asked" in live_price.check(line, NOW, False).message


def test_a_refusal_names_the_command_that_renews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a provider that can be asked; the flag stands beside it."""
    from tests.price_answers import answering

    def nothing(rows: Any, seconds: float) -> Any:
        raise Unavailable("no answer")

    answering(monkeypatch, "aws", nothing, keyless=True)
    with pytest.raises(UsageError) as refused:
        live_price.check(old("2026-08-01"), NOW, False)
    renews, accepts = refused.value.hint.splitlines()
    assert renews == "`cloudtrain prices refresh --provider aws` renews it"
    assert accepts.startswith("--accept-stale")
