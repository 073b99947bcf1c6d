"""The job on a rented machine, the same on every cloud that runs one, its state in a bucket beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.cloud_with_bucket import Together
from tests.campaign.client import Client
from tests.campaign.clouds import fake
from tests.engine.rented_world import client_of
from tests.engine.test_rented_jobs import fake_trainer

pytestmark = pytest.mark.engine
CLOUDS = {
    "gcp": (fake("gce", "GceCloud"), ("--infra", "gcp/us-central1", "--hardware", "cpu-amx", "--on-demand")),
    "runpod": (fake("runpod", "RunpodCloud"), ("--infra", "runpod", "--hardware", "mi300x", "--accept-risk")),
}


@pytest.fixture(params=sorted(CLOUDS))
def words(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What leads to a machine of each cloud."""
    return CLOUDS[request.param][1]


@pytest.fixture
def world(request: pytest.FixtureRequest, words: tuple[str, ...], tmp_path: Path) -> Iterator[Together]:
    """The cloud with machines that run, and a bucket."""
    made: Any = next(make for make, found in CLOUDS.values() if found == words)(Clock())
    both = Together(made)
    both.bucket("bucket-state")
    made.machines_run = True
    cache = fake_trainer(tmp_path / "image", "rocm" if "mi300x" in words else "cpu")
    made.room.environment.update(CLOUDTRAIN_CACHE=str(cache))
    yield both
    both.stop()


@pytest.fixture
def client(world: Together, tmp_path: Path) -> Client:
    """A client with a home of its own."""
    return client_of(tmp_path / "here", world, "s3://bucket-state/team?region=us-east-1")


def test_a_job_runs_to_its_end_and_comes_home(client: Client, world: Together, words: tuple[str, ...]) -> None:
    """Exit 0, the adapter here, the whole log, nothing left, no secret in the bucket."""
    ended = client.run("up", "-y", "--accept-stale", "--experimental", "--max-hours", "1h", "--name", "mine", *words)
    room = world.fake.room
    assert ended.code == 0, ended.err + "".join(room.console(name) for name in [*room.ended, *room.running])
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert world.leftovers() == []
    log = client.run("logs", "mine").out.encode()
    boxes = [box for each in room.ended.values() for box in each]
    assert log == b"".join(path.read_bytes() for box in boxes for path in sorted(box.folder.glob("**/run/log/*")))
    events = [json.loads(line) for line in log.splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 21))
    found = world.objects("bucket-state")
    assert not [name for name, data in found.items() if any(secret.encode() in data for secret in world.secrets())]
