"""A rented machine whose records lie in S3: every command works from any folder, home and machine."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.simulator.runpod import RunpodCloud
from cloudtrain.state import lease
from cloudtrain.state.bucket import ObjectFolder
from tests.campaign.client import Client, installed_engine, timing
from tests.campaign.clouds import TARGETS
from tests.engine.hostile_world import wait_for
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.engine
STATE = "s3://bucket-state/team/a?region=us-east-1"
RENT = (*TARGETS["runpod"].words, "--name", "mine")


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsCloud]:
    """The account with the bucket; this process finds it too."""
    made = AwsCloud()
    s3.make_bucket(made, "bucket-state")
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.fixture
def runpod() -> Iterator[RunpodCloud]:
    """Where the machines are."""
    made = RunpodCloud()
    yield made
    made.stop()


@pytest.fixture
def client(runpod: RunpodCloud, amazon: AwsCloud, tmp_path: Path) -> Client:
    """A client whose state is in the bucket."""
    return newcomer(tmp_path / "here", runpod, amazon)


@pytest.fixture
def elsewhere(runpod: RunpodCloud, amazon: AwsCloud, tmp_path: Path) -> Client:
    """Another folder, an empty home, no cache: a colleague's machine, as far as files go."""
    return newcomer(tmp_path / "there", runpod, amazon)


def newcomer(folder: Path, runpod: RunpodCloud, amazon: AwsCloud) -> Client:
    """A client with a home of its own, in which there is nothing."""
    home = folder / "home"
    home.mkdir(parents=True)
    root = installed_engine(home / "cache")
    world = {"HOME": str(home), "CLOUDTRAIN_CACHE": str(home / "cache"), "CLOUDTRAIN_PULUMI_ROOT": root}
    return Client(folder, runpod, **amazon.environment(), **world, CLOUDTRAIN_STATE=STATE)


def secrets_in(client: Client, amazon: AwsCloud) -> list[str]:
    """Objects that hold a planted secret."""
    planted = [value.encode() for value in client.environment.values() if "PLANTED" in value]
    assert planted
    found = s3.objects(amazon, "bucket-state")
    return [name for name, data in found.items() if any(secret in data for secret in planted)]


def test_a_run_is_seen_and_ended_from_anywhere(
    client: Client, elsewhere: Client, runpod: RunpodCloud, amazon: AwsCloud
) -> None:
    """Made here; ps, events, unlock, sweep and down there; nothing is left, and no secret ever lay in the bucket."""
    ended = client.up(*RENT)
    assert ended.code == 0, ended.err
    assert runpod.ledger.running()
    assert not client.state.exists()
    names = list(s3.objects(amazon, "bucket-state"))
    assert [name for name in names if not name.startswith("team/a/runs/mine/")] == ["team/a/state.json"]
    assert any("/pulumi/.pulumi/stacks/" in name for name in names)
    assert secrets_in(client, amazon) == []
    (row,) = json.loads(elsewhere.run("ps", "-o", "json").out)
    assert (row["run"], row["state"], row["provider"]) == ("mine", "running", "runpod")
    assert "pod0000001" in elsewhere.run("events", "mine").out
    assert "is not locked" in elsewhere.run("unlock", "mine").out
    swept = elsewhere.run("sweep", "--yes", "--provider", "runpod")
    assert swept.code == 0, swept.err
    assert runpod.ledger.running(), "a sweep leaves what is not due"
    down = elsewhere.run("down", "mine")
    assert down.code == 0, down.err
    assert "kept: s3://bucket-state/team/a/runs/mine" in down.out
    assert runpod.leftovers() == []
    left = list(s3.objects(amazon, "bucket-state"))
    assert "team/a/runs/mine/gone.json" in left
    assert not [name for name in left if "pulumi" in name or "lock" in name]
    assert secrets_in(client, amazon) == []
    (row,) = json.loads(client.run("ps", "-a", "-o", "json").out)
    assert row["state"] == "cancelled"


def test_a_killed_client_is_cleaned_up_after_from_elsewhere(
    client: Client, elsewhere: Client, runpod: RunpodCloud
) -> None:
    """kill -9 while the create is on its way: the journal in the bucket suffices for another home."""
    runpod.slow_s = 1.0
    for one in (client, elsewhere):
        one.environment["CLOUDTRAIN_SIMULATOR_TIMING"] = timing(runpod.slow_s)
    process = client.begin("up", *client.up_words(), *RENT)
    wait_for(has_create_intent, process)
    process.kill()
    process.wait()
    down = elsewhere.run("down", "mine")
    assert down.code == 0, down.err
    runpod.slow_s = 0.0
    time.sleep(0.1)
    assert runpod.leftovers() == []
    assert [entry.what for entry in runpod.ledger.entries], "the kill came before anything was asked for"


def has_create_intent() -> bool:
    """Whether the plugin has written down that it is about to make something."""
    return b'"call": "create"' in (ObjectFolder(STATE).read("runs/mine/journal.jsonl") or b"")


def test_a_second_client_elsewhere_hears_of_the_first(client: Client, elsewhere: Client, runpod: RunpodCloud) -> None:
    """The run's lease is in the bucket: `up` gives 101 and makes nothing; another machine's `down` needs --force."""
    with ObjectFolder(STATE).hold("runs/mine/client.lock"):
        ended = client.up(*RENT)
    assert ended.code == 101, ended.err
    assert f"process {os.getpid()}" in ended.err
    assert runpod.leftovers() == []
    assert client.up(*RENT).code == 0
    theirs = json.loads(lease.document("theirs"))
    ObjectFolder(STATE).write("runs/mine/client.lock", json.dumps({**theirs, "machine": "another"}).encode())
    refused = elsewhere.run("down", "mine")
    assert refused.code == 6, refused.err
    assert "cloudtrain down --force mine" in refused.err
    assert runpod.ledger.running()
    assert elsewhere.run("down", "--force", "mine").code == 0
    assert runpod.leftovers() == []


def test_a_dead_bucket_proves_no_machine_gone(
    client: Client, elsewhere: Client, runpod: RunpodCloud, amazon: AwsCloud
) -> None:
    """Unreachable at the beginning, or in the middle, of `down`: not 0, the machine is known to stand; later it ends."""
    assert client.up(*RENT).code == 0
    amazon.faults.add("S3.*", "unavailable", times=10**6)
    dead = elsewhere.run("down", "mine")
    assert (dead.code, "cannot be reached" in dead.err) == (1, True)
    amazon.faults.clear()
    amazon.faults.add("S3.DeleteObjects", "unavailable", times=10**6)
    amazon.faults.add("S3.PutObject", "unavailable", times=10**6)
    unwritable = elsewhere.run("down", "mine")
    assert unwritable.code != 0
    assert bool(runpod.ledger.running()) <= (unwritable.code == 6), unwritable.err
    amazon.faults.clear()
    assert elsewhere.run("down", "mine").code == 0
    assert runpod.leftovers() == []


def test_a_sweep_needs_no_bucket(client: Client, runpod: RunpodCloud, amazon: AwsCloud) -> None:
    """The state is lost for good: what is past its deadline is found at the provider all the same."""
    assert client.up(*RENT).code == 0
    runpod.clock.advance(2 * 3600)
    for name in list(s3.objects(amazon, "bucket-state")):
        ObjectFolder("s3://bucket-state").delete(name)
    client.environment["CLOUDTRAIN_NOW"] = str(runpod.clock.now())
    swept = client.run("sweep", "--yes", "--provider", "runpod")
    assert swept.code == 0, swept.err
    assert runpod.leftovers() == []


def test_an_interrupted_up_leaves_neither_machine_nor_lease(client: Client, runpod: RunpodCloud) -> None:
    """Ctrl-C while the machine is being made: it is removed, and the next client is not kept waiting."""
    runpod.faults.add("createPod", "slow", seconds=3600)
    process = client.begin("up", *client.up_words(), *RENT)
    wait_for(runpod.ledger.running, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert runpod.leftovers() == []
    assert ObjectFolder(STATE).holder("runs/mine/client.lock") is None


def test_a_run_on_this_machine_is_refused(client: Client, amazon: AwsCloud) -> None:
    """Its files need a folder here: told in a sentence, before anything is made."""
    ended = client.run("up", "-y", "--infra", "local")
    assert ended.code == 2, ended.err
    assert "s3://bucket-state/team/a` is a bucket" in ended.err
    assert s3.objects(amazon, "bucket-state") == {}
    assert not (Path(client.environment["CLOUDTRAIN_CACHE"]) / "environments").exists()
