"""A keyless job's credentials are taken at one place, before any command that looks into a state or at a provider."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudtrain.signing.keyless import amazon
from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.simulator.ci_identity import GithubTokens
from cloudtrain.simulator.clock import Clock
from tests.conftest import Result
from tests.keyless_world import Amazon, amazon_world, enter_amazon, secrets_in

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[AwsCloud, GithubTokens]]:
    with amazon_world() as world:
        yield world


@pytest.fixture
def world(made: tuple[AwsCloud, GithubTokens], own_world: Path, monkeypatch: pytest.MonkeyPatch) -> Amazon:
    """A job whose role gives four hours, with its state in a bucket."""
    world = enter_amazon(made, monkeypatch, Clock(), hours=4)
    monkeypatch.setenv("CLOUDTRAIN_STATE", world.state)
    return world


@pytest.mark.parametrize("words", [("ps",), ("report",), ("poll", "--all"), ("down", "--all"), ("events",), ("logs",)])
def test_every_command_that_opens_the_state_has_them(
    world: Amazon, cloudtrain: Command, words: tuple[str, ...]
) -> None:
    """The bucket answers; what shortens them is told on stderr, and nothing secret."""
    done = cloudtrain(*words)
    assert done.code in (0, 102)
    assert "--max-session-duration 43200" in done.err
    assert os.environ[amazon.KEY].startswith("ASIA")
    assert not secrets_in(done.out + done.err)
    assert not secrets_in(repr(s3.objects(world.cloud, "bucket-state")))


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("schema", "ps"),
        ("config", "show"),
        ("ps", "--help"),
        ("--version",),
        ("up", "--simulate=aws", "-h"),
    ],
)
def test_other_commands_ask_nobody(world: Amazon, cloudtrain: Command, words: tuple[str, ...]) -> None:
    """A quote needs no account, and a simulation has its own."""
    assert cloudtrain(*words).code == 0
    assert world.issuer.calls == []


def test_a_refused_exchange_ends_a_command_with_4(world: Amazon, cloudtrain: Command) -> None:
    """With the reason; a sweep says it too, and looks at every provider all the same."""
    world.issuer.claims["sub"] = "repo:another/one:ref:refs/heads/main"
    done = cloudtrain("ps")
    assert done.code == 4
    assert "Not authorized to perform sts:AssumeRoleWithWebIdentity" in done.err
    done = cloudtrain("sweep", "--provider", "runpod", "--yes")
    assert "no keyless credentials: Amazon refuses" in done.err
    assert "Traceback" not in done.err
    assert cloudtrain("prices", "status").code == 0


def test_a_program_has_them_too(world: Amazon) -> None:
    """`api` is the same door."""
    from cloudtrain import api

    assert api.runs() == []
    assert os.environ[amazon.KEY].startswith("ASIA")
