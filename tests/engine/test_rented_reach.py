"""A job on a rented machine whose state is in Google Cloud Storage; what `up` says of its first minute and its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.cloud_with_bucket import Together
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.storage import KEY_ID, GcsCloud
from tests.campaign.client import Client
from tests.engine.rented_world import client_of
from tests.engine.test_rented_jobs import fake_trainer

pytestmark = pytest.mark.engine
WORDS = ("--infra", "gcp/us-central1", "--hardware", "cpu-amx", "--on-demand", "--max-hours", "1h", "--name", "mine")
UP = ("up", "-y", "--accept-stale", *WORDS)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Together]:
    """Google's machines, which run, and Google's buckets."""
    cloud = GceCloud()
    both = Together(cloud, GcsCloud(cloud.clock))
    both.bucket("bucket-state")
    cloud.machines_run = True
    cloud.room.environment.update(CLOUDTRAIN_CACHE=str(fake_trainer(tmp_path / "image")))
    yield both
    both.stop()


@pytest.fixture
def client(world: Together, tmp_path: Path) -> Client:
    """A client with a home of its own, whose state is the bucket."""
    return client_of(tmp_path / "here", world, "gs://bucket-state/team")


def console(world: Together) -> str:
    """What machines have printed."""
    room = world.fake.room
    return "".join(room.console(name) for name in [*room.ended, *room.running])


def test_a_job_with_its_state_at_google_runs_to_its_end(client: Client, world: Together) -> None:
    """Exit 0, the adapter here, the whole log, nothing left, no key in the bucket; the first minute was told."""
    ended = client.run(*UP)
    assert ended.code == 0, ended.err + console(world)
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert world.leftovers() == []
    log = client.run("logs", "mine").out.encode()
    boxes = [box for each in world.fake.room.ended.values() for box in each]
    assert log == b"".join(path.read_bytes() for box in boxes for path in sorted(box.folder.glob("**/run/log/*")))
    events = [json.loads(line) for line in log.splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 21))
    found = world.objects("bucket-state")
    assert not [name for name, data in found.items() if KEY_ID.encode() in data or b"PRIVATE KEY" in data]
    assert not [name for name in found if "/tickets/" in name or "/pulumi/" in name]
    assert "the machine speaks: first heartbeat after" in ended.err
    assert "accelerator check passed" in ended.err


def test_a_run_without_memory_says_by_how_much_and_is_not_tried_again(client: Client, world: Together) -> None:
    """Exit 100, one machine, the figures; the next quote of this state counts them."""
    world.fake.room.environment["FAKE_TRAINER"] = json.dumps({"fail": 137})
    ended = client.run(*UP)
    assert ended.code == 100, ended.err + console(world)
    assert "ran out of memory: it needed at least" in ended.err
    assert "more than the estimated" in ended.err
    assert "sequence_length=" in ended.err
    assert world.fake.calls.count("instances.insert") == 1
    assert world.leftovers() == []
    measured = [data for name, data in world.objects("bucket-state").items() if "measurements.jsonl.d/" in name]
    assert [json.loads(each)["out_of_memory"] for each in measured] == [True]
    quoted = json.loads(client.run("quote", "smollm2-135m", "--infra", "gcp/us-central1", "-o", "json").out)
    assert any("memory raised by" in reason for line in quoted["lines"] for reason in line["reasons"])


def test_a_machine_without_its_accelerator_ends_the_run(client: Client, world: Together) -> None:
    """Exit 100 with a sentence of its own; no second machine."""
    world.fake.room.environment["FAKE_TRAINER"] = json.dumps({"fail": 70})
    ended = client.run(*UP)
    assert ended.code == 100, ended.err + console(world)
    assert "the accelerator it was to use is not there" in ended.err
    assert world.fake.calls.count("instances.insert") == 1
    assert world.leftovers() == []


def test_a_persons_login_cannot_let_a_machine_in(client: Client, world: Together, tmp_path: Path) -> None:
    """Exit 4 with what to do, before anything is made."""
    (tmp_path / "adc.json").write_text('{"type": "authorized_user", "client_id": "a", "client_secret": "b"}')
    client.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "adc.json")
    ended = client.run(*UP)
    assert ended.code == 4, ended.err
    assert "instances.insert" not in world.fake.calls


def test_a_run_of_more_than_a_week_is_cut_to_what_its_addresses_live(client: Client, world: Together) -> None:
    """--max-hours 400: told, and shown in the plan, before the question."""
    ended = client.run("up", "--dry-run", "--accept-stale", *WORDS, "--max-hours", "400h")
    assert ended.code == 0, ended.err
    assert "the deadline is brought forward: signed addresses live for 7 days" in ended.err
    assert "instances.insert" not in world.fake.calls
