"""`doctor` on the credentials of the state: whose they are, until when, and what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloudtrain.doctor import credentials
from cloudtrain.signing.keyless import amazon
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.ci_identity import GithubTokens
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.iam import EMAIL, IamCloud
from cloudtrain.simulator.gcp.storage import GcsCloud
from tests.keyless_world import Amazon, amazon_world, enter_amazon, enter_google, google_world, secrets_in


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[AwsCloud, GithubTokens]]:
    with amazon_world() as world:
        yield world


@pytest.fixture(scope="module")
def google_made() -> Iterator[tuple[GcsCloud, IamCloud, GithubTokens]]:
    with google_world() as world:
        yield world


@pytest.fixture
def world(made: tuple[AwsCloud, GithubTokens], own_world: Path, monkeypatch: pytest.MonkeyPatch) -> Amazon:
    """A job whose role gives an hour."""
    world = enter_amazon(made, monkeypatch, Clock(), hours=1)
    monkeypatch.setenv("CLOUDTRAIN_STATE", world.state)
    return world


def found() -> list[tuple[str, str, str]]:
    """What, state, words and hint of every finding; nothing secret in any."""
    findings = list(credentials.findings(time.time()))
    assert not secrets_in(repr(findings))
    return [(each.what, each.state, f"{each.message}; {each.hint}") for each in findings]


def test_a_short_role_is_a_problem_with_its_command(world: Amazon) -> None:
    """Whose they are is fine."""
    (whose, ok, words), (role, problem, advice) = found()
    assert (whose, ok, role, problem) == ("credentials of the state", "ok", "role", "problem")
    assert "keyless: role nights" in words
    assert "aws iam update-role --role-name nights --max-session-duration 43200" in advice


def test_a_role_of_twelve_hours_is_fine(world: Amazon) -> None:
    """With the latest end of a machine that is rented now."""
    world.role.longest_s = 43_200
    ((_, state, words),) = found()
    assert state == "ok"
    assert "lives until" in words


def test_a_refused_exchange_is_a_problem(world: Amazon) -> None:
    """And not the end of `doctor`."""
    world.issuer.claims["sub"] = "repo:another/one:ref:refs/heads/main"
    ((what, state, words),) = found()
    assert (what, state) == ("keyless", "problem")
    assert "docs/keyless.md" in words


def test_keys_of_unknown_end_or_hardly_any_time_are_problems(world: Amazon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that somebody else has exchanged."""
    for name in (amazon.KEY, amazon.SECRET, amazon.TOKEN):
        monkeypatch.setenv(name, "PLANTED-SECRET")
    ((_, state, words),) = found()
    assert state == "problem"
    assert "do not say until when" in words
    monkeypatch.setenv(amazon.END, datetime.fromtimestamp(time.time() + 900, UTC).isoformat())
    assert [state for _, state, _ in found()] == ["ok", "problem"]


def test_googles_are_told_by_the_account(
    google_made: tuple[GcsCloud, IamCloud, GithubTokens], own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is Google's, or in a file."""
    world = enter_google(google_made, monkeypatch, Clock())
    monkeypatch.setenv("CLOUDTRAIN_STATE", world.state)
    ((_, state, words),) = found()
    assert state == "ok"
    assert f"service account {EMAIL}, signed for by Google's IAM service" in words
    assert "12 hours" in words
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", world.cloud.key_file)
    assert "with a key of its own" in found()[0][2]


def test_a_folder_needs_none(own_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said."""
    assert list(credentials.findings(time.time())) == []
