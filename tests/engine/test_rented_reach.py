"""A job on a rented machine whose state is in Google Cloud Storage; what `up` says of its first minute and its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.gcp.storage import KEY_ID
from tests.campaign.client import Client
from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import BUCKET, World, steps, world

pytestmark = pytest.mark.campaign


@pytest.fixture
def google(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """Google's machines, which run, and Google's buckets."""
    with world("gcp", tmp_path, fork_server, "gs") as made:
        made.use_fake_trainer()
        yield made


@pytest.fixture
def client(google: World) -> Client:
    """A client with a home of its own, whose state is the bucket."""
    return google.client("here")


def up(google: World) -> tuple[str, ...]:
    """What it is told here."""
    return (*google.up, "--on-demand")


def test_a_job_whose_state_is_at_google_ends_well(client: Client, google: World) -> None:
    """Exit 0, the adapter here, the whole log, nothing left, no key in the bucket; the first minute was told."""
    ended = client.run(*up(google))
    assert ended.code == 0, google.told(ended)
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert google.both.leftovers() == []
    assert client.run("logs", "mine").out.encode() == google.log() == google.machine_logs()
    assert steps(google.log()) == list(range(1, 21))
    found = google.both.objects(BUCKET)
    assert not [name for name, data in found.items() if KEY_ID.encode() in data or b"PRIVATE KEY" in data]
    assert google.objects_with_a_secret() == []
    assert not [name for name in found if "/tickets/" in name or "/pulumi/" in name]
    assert "first heartbeat after" in ended.err
    assert "accelerator check passed" in ended.err


def test_out_of_memory_is_measured_and_not_tried_again(client: Client, google: World) -> None:
    """Exit 100, one machine, the figures; the next quote of this state counts them."""
    google.knobs(fail=137)
    ended = client.run(*up(google))
    assert ended.code == 100, google.told(ended)
    assert "ran out of memory: it needed at least" in ended.err
    assert "more than the estimated" in ended.err
    assert "sequence_length=" in ended.err
    assert google.fake.calls.count("instances.insert") == 1
    assert google.both.leftovers() == []
    measured = [data for name, data in google.both.objects(BUCKET).items() if "measurements.jsonl.d/" in name]
    assert [json.loads(each)["out_of_memory"] for each in measured] == [True]
    quoted = json.loads(client.run("quote", "smollm2-135m", "--infra", "gcp/us-central1", "-o", "json").out)
    assert any("memory raised by" in reason for line in quoted["lines"] for reason in line["reasons"])


def test_a_machine_without_its_accelerator_ends_the_run(client: Client, google: World) -> None:
    """Exit 100 with a sentence of its own; no second machine."""
    google.knobs(fail=70)
    ended = client.run(*up(google))
    assert ended.code == 100, google.told(ended)
    assert "the accelerator it was to use is not there" in ended.err
    assert google.fake.calls.count("instances.insert") == 1
    assert google.both.leftovers() == []


def test_a_persons_login_cannot_let_a_machine_in(client: Client, google: World, tmp_path: Path) -> None:
    """Exit 4 with what to do, before anything is made."""
    (tmp_path / "adc.json").write_text('{"type": "authorized_user", "client_id": "a", "client_secret": "b"}')
    client.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "adc.json")
    ended = client.run(*up(google))
    assert ended.code == 4, ended.err
    assert "instances.insert" not in google.fake.calls


def test_more_hours_than_quoted_do_not_lengthen_a_run(client: Client, google: World) -> None:
    """--max-hours 400: nothing is past the life of its addresses, and the plan says what decides."""
    ended = client.run(*up(google), "--dry-run", "--max-hours", "400h")
    assert ended.code == 0, ended.err
    assert "1.5 x the quoted worst case" in ended.out + ended.err
    assert "brought forward" not in ended.err
    assert "instances.insert" not in google.fake.calls
