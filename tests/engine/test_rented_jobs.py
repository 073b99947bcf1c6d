"""A job on a rented machine: shipped, started by what was sent to the cloud's API alone, watched, brought home, ended."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.trainer import environment
from tests.campaign.client import Client, Ended
from tests.engine.rented_world import until_not_held
from tests.engine.test_bucket_state import newcomer
from tests.fakes import TRAINER

pytestmark = pytest.mark.engine
WORDS = (
    "-y",
    "--accept-stale",
    "--infra",
    "aws/us-east-1",
    "--hardware",
    "cpu-amx",
    "--max-hours",
    "1h",
    "--name",
    "mine",
)
MINE = "team/a/runs/mine/"


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AwsCloud]:
    """The account with bucket and machines that really run; this process finds it too."""
    made = AwsCloud()
    s3.make_bucket(made, "bucket-state")
    made.machines_run = True
    made.room.environment.update(CLOUDTRAIN_CACHE=str(fake_trainer(tmp_path / "image")))
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


def fake_trainer(cache: Path, flavour: str = "cpu") -> Path:
    """A cache with a trainer's environment in which every program is the fake trainer."""
    wanted = environment._folder(flavour).name
    python = cache / "environments" / wanted / "bin" / "python"
    python.parent.mkdir(parents=True)
    (cache / "trainer.py").write_text(TRAINER)
    python.write_text(f'#!/bin/sh\nfor last in "$@"; do :; done\nexec {sys.executable} -u {cache}/trainer.py "$last"\n')
    python.chmod(0o755)
    return cache


@pytest.fixture
def client(amazon: AwsCloud, tmp_path: Path) -> Client:
    """A client whose state is in the bucket."""
    return newcomer(tmp_path / "here", amazon, amazon)


@pytest.fixture
def elsewhere(amazon: AwsCloud, tmp_path: Path) -> Client:
    """An empty home on another machine, as far as files go."""
    return newcomer(tmp_path / "there", amazon, amazon)


def knobs(amazon: AwsCloud, **values: object) -> None:
    """What the fake trainer does on every machine from now on."""
    amazon.room.environment["FAKE_TRAINER"] = json.dumps(values)


def objects(amazon: AwsCloud) -> dict[str, bytes]:
    """The run's documents in the bucket."""
    found = s3.objects(amazon, "bucket-state")
    return {name.removeprefix(MINE): data for name, data in found.items() if name.startswith(MINE)}


def log(amazon: AwsCloud) -> bytes:
    """The run's log as it lies in the bucket; its chunks have no gap and do not overlap."""
    found = {int(name[4:]): data for name, data in objects(amazon).items() if name.startswith("log/")}
    whole = b""
    for start in sorted(found):
        assert start == len(whole)
        whole += found[start]
    return whole


def machine_logs(amazon: AwsCloud) -> bytes:
    """What the trainers wrote on the machines, in the order in which these were made."""
    sandboxes = [box for boxes in amazon.room.ended.values() for box in boxes] + list(amazon.room.running.values())
    paths = [path for box in sandboxes for path in sorted(box.folder.glob("cloudtrain/*/run/log/*"))]
    return b"".join(path.read_bytes() for path in paths)


def steps(data: bytes) -> list[int]:
    """The steps that a log tells of."""
    events = [json.loads(line) for line in data.splitlines() if line.startswith(b"{")]
    return [event["step"] for event in events if event["event"] == "step"]


def told(ended: Ended, amazon: AwsCloud) -> str:
    """What went wrong, for the assertion."""
    return ended.err + "".join(amazon.room.console(name) for name in [*amazon.room.ended, *amazon.room.running])


def test_a_job_runs_to_its_end_and_comes_home(client: Client, amazon: AwsCloud) -> None:
    """Exit 0, the log equal byte for byte, the adapter here, nothing left, and quoted beside metered."""
    ended = client.run("up", *WORDS)
    assert ended.code == 0, told(ended, amazon)
    assert "machine created: i-" in ended.out
    assert (client.folder / "mine" / "adapter_config.json").exists()
    assert amazon.leftovers() == []
    assert hashlib.sha256(log(amazon)).digest() == hashlib.sha256(machine_logs(amazon)).digest()
    assert steps(log(amazon)) == list(range(1, 21))
    assert client.run("logs", "mine").out.encode() == log(amazon)
    report = json.loads(client.run("report", "mine", "-o", "json").out)
    assert report["state"] == "finished"
    assert float(report["metered_usd"]) > 0
    assert not [name for name in objects(amazon) if name.startswith("tickets/")]


def test_a_state_in_a_folder_is_refused_before_anything_is_made(client: Client, amazon: AwsCloud) -> None:
    """A rented machine could not reach it; said in a sentence."""
    client.environment["CLOUDTRAIN_STATE"] = str(client.state)
    ended = client.run("up", *WORDS)
    assert ended.code == 2, ended.err
    assert "a rented machine can only reach a state in a bucket" in ended.err
    assert "s3://" in ended.err
    assert "RunInstances" not in amazon.calls
    assert not client.state.exists() or not list(client.state.rglob("intent.json"))


def test_no_secret_lies_in_the_bucket_and_no_address_in_the_journal(client: Client, amazon: AwsCloud) -> None:
    """Tickets hold signed addresses while the run lasts; journal and engine state never do; no key is anywhere."""
    knobs(amazon, steps=3)
    ended = client.run("up", *WORDS)
    assert ended.code == 0, told(ended, amazon)
    planted = [value.encode() for value in client.environment.values() if "PLANTED" in value]
    found = objects(amazon)
    assert planted
    assert not [name for name, data in found.items() if any(secret in data for secret in planted)]
    assert not [name for name, data in found.items() if b"X-Amz-Signature" in data]


def wait_for_step(amazon: AwsCloud, least: int) -> None:
    """Until the log in the bucket tells of that step."""
    give_up = time.monotonic() + 120
    while max(steps(log(amazon)), default=0) < least:
        assert time.monotonic() < give_up, "it never came to that step"
        time.sleep(0.05)


def said(client: Client) -> str:
    """What processes that were begun have said."""
    return (client.folder / "output.txt").read_text()


def test_a_machine_that_is_taken_away_is_followed_by_another(client: Client, amazon: AwsCloud) -> None:
    """Preempted in the middle: checkpoint on notice, a second machine goes on from it; both are in the report."""
    knobs(amazon, steps=60, pause_s=0.2, every=10)
    process = client.start("-m", "cloudtrain", "up", *WORDS, "--spot")
    wait_for_step(amazon, 12)
    (first,) = amazon.room.running
    amazon.preempt(first, 20.0)
    knobs(amazon, steps=60, pause_s=0.02, every=10)
    assert process.wait(100) == 0, said(client)
    assert amazon.leftovers() == []
    done = steps(log(amazon))
    assert sorted(set(done)) == list(range(1, 61))
    assert len(done) - 60 <= 10, "more than a checkpoint's interval was lost"
    assert log(amazon) == machine_logs(amazon)
    report = json.loads(client.run("report", "mine", "-o", "json").out)
    assert [machine["reason"] for machine in report["machines"]] == ["preempted", "done"]
    assert report["machines"][0]["id"] == first
    assert report["steps"] == 60


def test_a_machine_that_vanishes_is_followed_by_another(client: Client, amazon: AwsCloud) -> None:
    """Ended behind everybody's back, without a last word: the run goes on from the checkpoint that was shipped."""
    knobs(amazon, steps=60, pause_s=0.2, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for_step(amazon, 8)
    knobs(amazon, steps=60, pause_s=0.02, every=5)
    with amazon.clock.lock:
        from cloudtrain.simulator.aws import machines

        (first,) = amazon.room.running
        machines.end(amazon, amazon.machines[first], "Server.InternalError", "somebody pulled the plug")
    assert process.wait(100) == 0, said(client)
    assert amazon.leftovers() == []
    assert sorted(set(steps(log(amazon)))) == list(range(1, 61))
    report = json.loads(client.run("report", "mine", "-o", "json").out)
    assert [machine["reason"] for machine in report["machines"]] == ["gone", "done"]


def test_without_restarts_it_is_said_that_the_machine_is_gone(client: Client, amazon: AwsCloud) -> None:
    """--max-restarts 0: exit 101, nothing left; the same command goes on later."""
    knobs(amazon, steps=60, pause_s=0.2, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS, "--max-restarts", "0")
    wait_for_step(amazon, 6)
    with amazon.clock.lock:
        from cloudtrain.simulator.aws import machines

        (first,) = amazon.room.running
        machines.end(amazon, amazon.machines[first], "Server.InternalError", "somebody pulled the plug")
    assert process.wait(100) == 101, said(client)
    assert "is gone without a last word" in said(client)
    assert amazon.leftovers() == []


def test_a_client_that_is_killed_is_not_needed(client: Client, elsewhere: Client, amazon: AwsCloud) -> None:
    """kill -9 in the middle: the job ends, its machine ends itself, and `poll` from an empty home does the rest."""
    knobs(amazon, steps=40, pause_s=0.1)
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for_step(amazon, 2)
    going = elsewhere.run("poll", "mine")
    assert going.code == 101, going.err
    process.kill()
    process.wait()
    give_up = time.monotonic() + 120
    while amazon.room.running:
        assert time.monotonic() < give_up, "the machine did not end itself"
        time.sleep(0.1)
    (elsewhere.folder / "cloudtrain.yaml").unlink()
    (elsewhere.folder / "data.jsonl").unlink()
    time.sleep(0.1)
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code == 0, polled.err
    assert (elsewhere.folder / "mine" / "adapter_config.json").exists()
    assert amazon.leftovers() == []
    assert log(amazon) == machine_logs(amazon)
    again = elsewhere.run("poll", "mine", "-o", "json")
    assert again.code == 0
    assert json.loads(again.out)[0]["over"] is True
    assert elsewhere.run("wait", "mine").code == 0


def test_down_asks_for_a_checkpoint_first_and_up_goes_on_from_it(client: Client, amazon: AwsCloud) -> None:
    """A detached job that is stopped has written where it was; the same command goes on with the same log."""
    knobs(amazon, steps=50, pause_s=0.3, every=1000)
    started = client.run("up", *WORDS, "--detach")
    assert started.code == 0, told(started, amazon)
    wait_for_step(amazon, 3)
    assert client.run("down", "mine").code == 0
    assert amazon.leftovers() == []
    reached = int(objects(amazon)["ckpt/LATEST"])
    assert reached >= 3
    knobs(amazon, steps=50, pause_s=0.01, every=1000)
    ended = client.run("up", *WORDS)
    assert ended.code == 0, told(ended, amazon)
    assert steps(log(amazon)) == list(range(1, 51))
    assert amazon.leftovers() == []


def test_a_trainer_that_fails_is_told_and_not_repeated(client: Client, amazon: AwsCloud) -> None:
    """Bad data on the machine: exit 100, one machine, its words, nothing left."""
    knobs(amazon, fail=65)
    ended = client.run("up", *WORDS)
    assert ended.code == 100, told(ended, amazon)
    assert "bad data" in ended.err
    assert amazon.calls.count("RunInstances") == 1
    assert amazon.leftovers() == []
