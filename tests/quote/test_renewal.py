"""By which command a provider's prices are renewed, and what that lacks here."""

from __future__ import annotations

import pytest

from cloudtrain.quote import renewal
from tests.price_answers import answering, nobody_answers, selling

SELLING = selling(lambda row: "1")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of RunPod's, and nobody who can be asked."""
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    nobody_answers(monkeypatch)


def test_who_cannot_be_asked_has_no_command() -> None:
    """Neither a command nor advice."""
    assert (renewal.command("runpod"), renewal.advice("runpod")) == ("", "")


def test_a_missing_key_is_named_beside_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable; with the variable set nothing is missing."""
    answering(monkeypatch, "runpod", SELLING, keyless=False)
    said = "`cloudtrain prices refresh --provider runpod` renews it"
    assert renewal.advice("runpod") == f"{said}, which needs credentials (RUNPOD_API_KEY)"
    monkeypatch.setenv("RUNPOD_API_KEY", "x")
    assert renewal.advice("runpod") == said


def test_a_keyless_list_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the machines need a key."""
    answering(monkeypatch, "runpod", SELLING, keyless=True)
    assert renewal.needs("runpod") == ""


def test_a_key_for_prices_alone_is_named_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a few words alone; with it nothing is missing, though nothing could be rented."""
    monkeypatch.delenv("PRICE_KEY", raising=False)
    answering(monkeypatch, "runpod", SELLING, keyless=False, price_credentials=("PRICE_KEY",))
    assert renewal.needs("runpod") == "PRICE_KEY or credentials (RUNPOD_API_KEY)"
    assert renewal.needs_shortly("runpod") == "PRICE_KEY"
    monkeypatch.setenv("PRICE_KEY", "x")
    assert renewal.needs("runpod") == renewal.needs_shortly("runpod") == ""
