"""A job on a rented machine: shipped, started by what was sent to the cloud's API alone, watched, brought home, ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.client import Client
from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import World, report, said, steps, until_not_held, world
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.campaign
AT = 13  # the step at which something happens


@pytest.fixture
def amazon(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """An account with a bucket and machines that really run."""
    with world("aws", tmp_path, fork_server) as made:
        made.use_fake_trainer()
        yield made


@pytest.fixture
def client(amazon: World) -> Client:
    """A client whose state is in the bucket."""
    return amazon.client("here")


@pytest.fixture
def elsewhere(amazon: World) -> Client:
    """An empty home on another machine, as far as files go."""
    return amazon.newcomer("there")


def test_a_job_runs_to_its_end_and_comes_home(client: Client, amazon: World) -> None:
    """Exit 0, the log equal byte for byte, the adapter here, nothing left, and quoted beside metered."""
    ended = client.run(*amazon.up)
    assert ended.code == 0, amazon.told(ended)
    assert "machine created: i-" in ended.out
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert amazon.both.leftovers() == []
    assert hashlib.sha256(amazon.log()).digest() == hashlib.sha256(amazon.machine_logs()).digest()
    assert steps(amazon.log()) == list(range(1, 21))
    assert client.run("logs", "mine").out.encode() == amazon.log()
    account = report(client)
    assert account["state"] == "finished"
    assert float(account["metered_usd"]) > 0
    assert not [name for name in amazon.objects() if name.startswith("tickets/")]


def test_a_state_in_a_folder_is_refused(client: Client, amazon: World) -> None:
    """A rented machine could not reach it; said in a sentence."""
    client.environment["CLOUDTRAIN_STATE"] = str(client.state)
    ended = client.run(*amazon.up)
    assert ended.code == 2, ended.err
    assert "a rented machine can only reach a state in a bucket" in ended.err
    assert "s3://" in ended.err
    assert "RunInstances" not in amazon.fake.calls
    assert not client.state.exists() or not list(client.state.rglob("intent.json"))


def test_neither_secret_nor_signed_address_stays_in_the_bucket(client: Client, amazon: World) -> None:
    """Tickets hold signed addresses while the run lasts; journal and engine state never do; no key is anywhere."""
    amazon.knobs(steps=3)
    ended = client.run(*amazon.up)
    assert ended.code == 0, amazon.told(ended)
    assert amazon.both.secrets()
    assert amazon.objects_with_a_secret() == []


def test_without_restarts_it_is_said_that_the_machine_is_gone(client: Client, amazon: World) -> None:
    """--max-restarts 0: exit 101, nothing left; the same command goes on later."""
    amazon.knobs(steps=40, hold=AT, every=5)
    process = client.begin(*amazon.up, "--max-restarts", "0")
    amazon.wait_for_step(AT)
    (first,) = amazon.room.running
    amazon.lose(first)
    assert process.wait(PATIENCE_S) == 101, said(client)
    assert "is gone without an exit record" in said(client)
    assert amazon.both.leftovers() == []


def test_a_client_that_is_killed_is_not_needed(client: Client, elsewhere: Client, amazon: World) -> None:
    """kill -9 in the middle: the job ends, its machine ends itself, and `poll` from an empty home does the rest."""
    release = amazon.folder / "go"
    amazon.knobs(steps=20, hold=AT, release=str(release))
    process = client.begin(*amazon.up)
    amazon.wait_for_step(AT)
    looked = elsewhere.run("poll", "mine")
    assert looked.code == 101, looked.err
    process.kill()
    process.wait()
    release.touch()
    amazon.wait_for_quiet()
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code == 0, polled.err
    assert (elsewhere.folder / "mine" / "adapter_config.json").exists()
    assert amazon.both.leftovers() == []
    assert amazon.log() == amazon.machine_logs()
    again = elsewhere.run("poll", "mine", "-o", "json")
    assert again.code == 0
    assert json.loads(again.out)[0]["over"] is True
    assert elsewhere.run("wait", "mine").code == 0


def test_down_takes_a_checkpoint_and_up_resumes_from_it(client: Client, amazon: World) -> None:
    """A detached job that is stopped has written where it was; the same command goes on with the same log."""
    amazon.knobs(steps=40, hold=AT, every=1000)
    started = client.run(*amazon.up, "--detach")
    assert started.code == 0, amazon.told(started)
    amazon.wait_for_step(AT)
    assert client.run("down", "mine").code == 0
    assert amazon.both.leftovers() == []
    assert amazon.checkpoint() == AT
    amazon.knobs(steps=40, every=1000)
    ended = client.run(*amazon.up)
    assert ended.code == 0, amazon.told(ended)
    assert steps(amazon.log()) == list(range(1, 41))
    assert amazon.both.leftovers() == []


def test_a_trainer_that_fails_is_told_and_not_repeated(client: Client, amazon: World) -> None:
    """Bad data on the machine: exit 100, one machine, its words, nothing left."""
    amazon.knobs(fail=65)
    ended = client.run(*amazon.up)
    assert ended.code == 100, amazon.told(ended)
    assert "bad data" in ended.err
    assert amazon.fake.calls.count("RunInstances") == 1
    assert amazon.both.leftovers() == []
