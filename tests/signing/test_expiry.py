"""No run outlives the addresses that its machine was given."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.client import planning
from cloudtrain.signing import expiry
from cloudtrain.state import credentials

STATE = "s3://bucket-x/team"
NOW = 1_800_000_000.0
WEEK_S = 7 * 86400.0


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An access key that does not expire."""
    for name in ("AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", expiry.EXPIRATION):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "PLANTED-SECRET")


def test_a_deadline_within_a_week_stays() -> None:
    """Nothing is said."""
    assert expiry.within(STATE, NOW + 86400, 3600.0, NOW) == (NOW + 86400, "")


def test_a_later_deadline_is_brought_forward_where_possible() -> None:
    """To a week less the last upload, with the reason."""
    deadline, why = expiry.within(STATE, NOW + 9 * 86400, 3600.0, NOW)
    assert deadline == NOW + WEEK_S - expiry.SHIPPING_S
    assert "7 days" in why


def test_a_longer_run_is_refused_with_the_longest_possible() -> None:
    """Its own machine could not write its last checkpoint."""
    with pytest.raises(UsageError) as told:
        expiry.within(STATE, NOW + 20 * 86400, 10 * 86400.0, NOW)
    assert "7 days" in told.value.message
    assert "--max-hours 167h is the longest" in told.value.hint


def test_temporary_credentials_end_the_run_before_they_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment tells it: a run that likely takes longer is refused, a shorter one shortened."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    end = NOW + 3 * 3600
    monkeypatch.setenv(expiry.EXPIRATION, datetime.fromtimestamp(end, UTC).isoformat())
    deadline, why = expiry.within(STATE, NOW + 86400, 3600.0, NOW)
    assert deadline == end - expiry.SHIPPING_S
    assert "temporary credentials" in why
    with pytest.raises(UsageError, match="temporary credentials"):
        expiry.within(STATE, NOW + 86400, 4 * 3600.0, NOW)
    with pytest.raises(UsageError, match="no run can begin"):
        expiry.within(STATE, NOW + 86400, None, end - 700)


def test_credentials_of_the_chain_are_asked_for_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile with a role: the SDK renews them, and what was signed ends all the same."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    class Held:
        _expiry_time = datetime.fromtimestamp(NOW + 7200, UTC)

    class Provider:
        credentials = Held()

        def __call__(self) -> dict[str, str]:
            return {"access_key_id": "a", "secret_access_key": "b", "token": "c"}

    monkeypatch.setattr(credentials, "amazon", lambda address: Provider())
    assert expiry.limit(STATE, NOW).deadline == NOW + 7200 - expiry.SHIPPING_S


def test_the_sdk_still_keeps_the_end_where_we_look() -> None:
    """It is private there: a new version that moves it shows here."""
    from botocore.credentials import RefreshableCredentials

    end = datetime.fromtimestamp(NOW, UTC)
    held = RefreshableCredentials("a", "b", "c", end, lambda: {}, "test")
    assert held._expiry_time == end


@pytest.mark.parametrize("quote", ['"', "'", " "])
def test_a_quoted_end_is_read(monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    """As a line of an env file has it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    end = datetime.fromtimestamp(NOW + 7200, UTC).isoformat()
    monkeypatch.setenv(expiry.EXPIRATION, f"{quote}{end}{quote}")
    assert expiry.limit(STATE, NOW).deadline == NOW + 7200 - expiry.SHIPPING_S


def test_an_end_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a slip, not an unknown end."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    monkeypatch.setenv(expiry.EXPIRATION, "tomorrow")
    with pytest.raises(UsageError, match="tomorrow"):
        expiry.limit(STATE, NOW)


def test_a_given_end_counts_for_credentials_of_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK knows none of a session token that somebody has pasted there."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    class Provider:
        credentials = SimpleNamespace()

        def __call__(self) -> dict[str, str]:
            return {"access_key_id": "a", "secret_access_key": "b", "token": "c"}

    monkeypatch.setattr(credentials, "amazon", lambda address: Provider())
    assert expiry.limit(STATE, NOW).warning
    monkeypatch.setenv(expiry.EXPIRATION, datetime.fromtimestamp(NOW + 7200, UTC).isoformat())
    assert expiry.limit(STATE, NOW).deadline == NOW + 7200 - expiry.SHIPPING_S


@pytest.mark.parametrize("accepted", [False, True])
def test_an_unknown_end_is_refused_unless_the_risk_is_accepted(monkeypatch: pytest.MonkeyPatch, accepted: bool) -> None:
    """A rented job whose addresses may die in an hour trains for nothing."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    monkeypatch.setattr(planning, "now", lambda: NOW)
    plan: Any = SimpleNamespace(deadline=NOW + 3600, deadline_basis="--max-hours 1", segments=False)
    line: Any = SimpleNamespace(assessment=SimpleNamespace(hours=None))
    store: Any = SimpleNamespace(url=STATE)
    told: list[Any] = []
    if accepted:
        assert planning.reachable_to_its_end(store, plan, line, told.append, accept_risk=True) is plan
        assert expiry.EXPIRATION in told[0].text
        return
    with pytest.raises(UsageError, match=expiry.EXPIRATION) as refused:
        planning.reachable_to_its_end(store, plan, line, told.append, accept_risk=False)
    assert "--accept-risk" in refused.value.hint


def test_an_unknown_end_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would tell it."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    found = expiry.limit(STATE, NOW)
    assert expiry.EXPIRATION in found.warning
    assert found.deadline == NOW + WEEK_S - expiry.SHIPPING_S
    assert "PLANTED" not in found.warning
