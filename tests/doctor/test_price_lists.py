"""What doctor says of price lists: their age, and which credentials would renew them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudtrain.doctor import price_lists
from cloudtrain.offer import Offer, Price
from tests.price_answers import answering, nobody_answers, selling

NOW = datetime(2026, 11, 24, tzinfo=UTC).timestamp()


def offers(name: str) -> list[Offer]:
    """One machine whose price is four days old."""
    price = Price("snapshot", "2026-11-20", "", "")
    return [Offer(name, "x1", "r", "z", "mi300x", 1, 1, None, None, "on_demand", Decimal(2), price)]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of RunPod's, and nobody who can be asked but RunPod with a key."""
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    nobody_answers(monkeypatch)
    answering(monkeypatch, "runpod", selling(lambda row: "1"), keyless=False)


def test_a_missing_key_is_unknown_and_bars_nothing() -> None:
    """With the command and the variable."""
    (finding,) = price_lists.findings("runpod", NOW, offers)
    assert (finding.state, finding.barring) == ("unknown", False)
    said = "`cloudtrain prices refresh --provider runpod` renews it, which needs credentials (RUNPOD_API_KEY)"
    assert finding.message == f"4 days old; {said}"


def test_with_a_key_or_without_need_it_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command alone is said."""
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    (finding,) = price_lists.findings("runpod", NOW, offers)
    assert (finding.state, finding.message.rpartition("; ")[2]) == (
        "ok",
        "`cloudtrain prices refresh --provider runpod` renews it",
    )
    monkeypatch.delenv("RUNPOD_API_KEY")
    answering(monkeypatch, "runpod", selling(lambda row: "1"), keyless=True)
    (finding,) = price_lists.findings("runpod", NOW, offers)
    assert finding.state == "ok"


def test_who_cannot_be_asked_has_no_line() -> None:
    """Nor who has no prices at all."""
    assert [list(price_lists.findings(name, NOW, offers)) for name in ("aws", "local", "nobody")] == [[], [], []]
