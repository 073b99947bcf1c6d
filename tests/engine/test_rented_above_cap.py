"""A rented run whose own rate says that its cap may not do: its machine saves, stops and is gone, and the client says 5."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import World, steps, world

pytestmark = pytest.mark.campaign
SLOW = {"steps": 200_000, "pause_s": 0.02, "every": 10_000}  # more than an hour


@pytest.fixture
def amazon(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """An account with a bucket and machines that really run."""
    with world("aws", tmp_path, fork_server) as made:
        made.use_fake_trainer()
        yield made


def test_above_its_cap_it_ends_with_five_and_nothing_left(amazon: World) -> None:
    """With a checkpoint at home in the state; a higher cap goes on from there."""
    client = amazon.client("here")
    amazon.knobs(**SLOW)
    up = [word for word in amazon.up if word not in ("--max-hours", "1h")]
    ended = client.run(*up, "--max-cost", "1", "--stop-above-cap")
    assert ended.code == 5, amazon.told(ended)
    assert "rest quoted from its own rate: " in ended.err
    assert "stopped above its cap: at its own rate it may cost $" in ended.err
    assert "--max-cost" in ended.err
    assert amazon.both.leftovers() == []
    assert not amazon.room.running
    saved = amazon.checkpoint()
    assert saved >= 50
    exit_record = json.loads(amazon.objects()["exit.json"])
    assert (exit_record["reason"], exit_record["step"]) == ("over_cap", saved)
    amazon.knobs(steps=saved + 10)
    again = client.run(*up, "--max-cost", "500", "--stop-above-cap")
    assert again.code == 0, amazon.told(again)
    assert steps(amazon.log())[-1] == saved + 10
    assert amazon.both.leftovers() == []


def test_without_a_client_the_machine_stops_itself(amazon: World) -> None:
    """Detached: nobody looks until it is over."""
    client = amazon.client("here")
    amazon.knobs(**SLOW)
    up = [word for word in amazon.up if word not in ("--max-hours", "1h")]
    begun = client.run(*up, "--max-cost", "1", "--stop-above-cap", "--detach")
    assert begun.code == 0, amazon.told(begun)
    amazon.wait_for_quiet()
    polled = client.run("poll", "mine")
    assert polled.code == 0, polled.err
    assert "stopped above its cap" in polled.out
    assert client.run("wait", "mine").code == 5
    assert amazon.both.leftovers() == []
