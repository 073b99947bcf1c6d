"""Jobs on rented machines in a hostile world: cables, buckets, clocks and clients fail, and the run ends all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator import network
from cloudtrain.simulator.aws import AwsCloud, machines, s3
from cloudtrain.simulator.sandbox import Sandbox
from tests.campaign.client import Client
from tests.engine.hostile_world import said, wait_for
from tests.engine.rented_world import until_not_held
from tests.engine.test_bucket_state import newcomer
from tests.engine.test_rented_jobs import (
    MINE,
    WORDS,
    fake_trainer,
    knobs,
    log,
    machine_logs,
    objects,
    steps,
    wait_for_step,
)
from tests.templates.cutter import Cutter

pytestmark = pytest.mark.engine
needs_cable = pytest.mark.skipif(not network.available(), reason="a network of its own needs root, ip and iptables")


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[AwsCloud]:
    """The account with bucket and machines that really run and do not wait long for anything."""
    made = AwsCloud()
    s3.make_bucket(made, "bucket-state")
    made.machines_run = True
    made.room.environment.update(
        CLOUDTRAIN_CACHE=str(fake_trainer(tmp_path / "image")),
        CLOUDTRAIN_TIMEOUT_S="1",
        CLOUDTRAIN_RETRY_S="0.3",
        CLOUDTRAIN_PATIENCE_S="3",
    )
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.fixture
def client(amazon: AwsCloud, tmp_path: Path) -> Client:
    """A client whose state is in the bucket."""
    return newcomer(tmp_path / "here", amazon, amazon)


@pytest.fixture
def elsewhere(amazon: AwsCloud, tmp_path: Path) -> Client:
    """An empty home on another machine, as far as files go."""
    return newcomer(tmp_path / "there", amazon, amazon)


def the_machine(amazon: AwsCloud) -> Sandbox:
    """The only one that runs."""
    (sandbox,) = amazon.room.running.values()
    return sandbox


def the_cable(amazon: AwsCloud) -> network.Cable:
    """Its cable."""
    found = the_machine(amazon).cable
    assert found is not None
    return found


@needs_cable
@pytest.mark.parametrize("how", ["cut", "lose"])
def test_a_line_that_is_gone_for_a_while_costs_nothing(client: Client, amazon: AwsCloud, how: str) -> None:
    """Cable out, or packets lost in silence, until the job is done: then all of it comes home."""
    amazon.room.network = True
    knobs(amazon, steps=50, pause_s=0.1, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for_step(amazon, 5)
    line = the_cable(amazon)
    line.cut() if how == "cut" else line.lose()
    sandbox = the_machine(amazon)
    wait_for(lambda: list(sandbox.folder.glob("cloudtrain/*/run/exit.json")), process)
    wait_for(lambda: "data: " in said(client), process)
    assert max(steps(log(amazon))) < 50, "the line was not gone"
    assert "exit.json" not in objects(amazon)
    line.mend() if how == "cut" else line.find()
    assert process.wait(100) == 0, said(client)
    assert amazon.leftovers() == []
    assert log(amazon) == machine_logs(amazon)
    assert steps(log(amazon)) == list(range(1, 51))


@needs_cable
@pytest.mark.parametrize("how", ["cut", "lose"])
def test_a_line_that_never_comes_back_ends_the_machine_at_its_deadline(
    client: Client, amazon: AwsCloud, how: str
) -> None:
    """Nobody can reach the machine any more: it is gone by its time, and what was uploaded before is there."""
    amazon.room.network = True
    knobs(amazon, steps=100000, pause_s=0.1, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS, "--max-restarts", "0")
    wait_for_step(amazon, 8)
    wait_for(lambda: "machine created" in said(client) and "ckpt/LATEST" in objects(amazon), process)
    line = the_cable(amazon)
    line.cut() if how == "cut" else line.lose()
    before = log(amazon)
    amazon.clock.advance(3600)
    assert process.wait(100) == 101, said(client)
    assert "is gone without a last word" in said(client)
    assert amazon.leftovers() == []
    assert log(amazon).startswith(before)
    assert machine_logs(amazon).startswith(log(amazon))
    assert int(objects(amazon)["ckpt/LATEST"]) >= 5
    assert client.run("logs", "mine").out.encode() == log(amazon)
    report = json.loads(client.run("report", "mine", "-o", "json").out)
    assert [machine["reason"] for machine in report["machines"]] == ["gone"]


def test_a_bucket_that_is_down_for_a_while_is_waited_for(client: Client, amazon: AwsCloud) -> None:
    """Machine and client meet a bucket that answers 503 to everything until the job is done: exit 0, nothing lost."""
    knobs(amazon, steps=60, pause_s=0.1, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for_step(amazon, 5)
    wait_for(lambda: "data: " in said(client), process)
    amazon.faults.add("S3.*", "unavailable", times=10**9)
    sandbox = the_machine(amazon)
    wait_for(lambda: list(sandbox.folder.glob("cloudtrain/*/run/exit.json")))
    assert process.poll() is None, said(client)
    amazon.faults.clear()
    assert process.wait(100) == 0, said(client)
    assert amazon.leftovers() == []
    assert log(amazon) == machine_logs(amazon)


def test_a_hundred_cuts_of_all_lines_to_the_bucket_lose_no_byte(client: Client, amazon: AwsCloud) -> None:
    """Machine and client reach the bucket through a line that is reset at random bytes, in both directions.

    The client bears that, or ends with 6 and is followed by another one.
    """
    cutter = Cutter(amazon.port, 10**9, seed=7)
    cutter.armed = False
    client.environment["AWS_ENDPOINT_URL_S3"] = cutter.url
    knobs(amazon, steps=600, pause_s=0.1, every=25)
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for(lambda: "data: " in said(client), process)
    cutter.left, cutter.armed = 100, True
    wait_for(lambda: cutter.left == 0 or process.poll() is not None)
    assert max(steps(log(amazon))) < 600, "the job was over before"
    code = process.wait(110)
    cutter.armed = False
    if code == 6:  # it lost sight of the state and said so; whoever looks next goes on
        assert "cloudtrain poll mine" in said(client) or "cloudtrain down mine" in said(client)
        code = client.run("attach", "mine").code
    assert code == 0, said(client)
    assert amazon.leftovers() == []
    assert log(amazon) == machine_logs(amazon)
    shown = client.run("logs", "mine")
    assert shown.out.encode() == log(amazon)


def test_a_bundle_that_never_comes_ends_the_machine(client: Client, amazon: AwsCloud) -> None:
    """The machine gives up after its patience, says so, and is gone; exit 100."""
    amazon.pending_s = 2.0
    process = client.start("-m", "cloudtrain", "up", *WORDS)
    wait_for(lambda: amazon.machines, process)
    found = s3.objects(amazon, "bucket-state")
    for name in [name for name in found if "/bundles/" in name]:
        amazon_bucket(amazon).pop(name)
    assert process.wait(100) == 100, said(client)
    assert "the bundle could not be fetched" in said(client)
    assert amazon.leftovers() == []


def amazon_bucket(amazon: AwsCloud) -> dict[str, object]:
    """moto's own keys of the bucket."""
    from cloudtrain.simulator.aws.wire import backend

    keys: dict[str, object] = backend("s3", amazon.account, "aws").buckets["bucket-state"].keys
    return keys


def test_a_client_that_never_comes_back_is_not_needed_for_the_end(
    client: Client, elsewhere: Client, amazon: AwsCloud
) -> None:
    """kill -9, a job that would go on for ever: gone at the deadline; somebody else finds all that was uploaded."""
    knobs(amazon, steps=100000, pause_s=0.05, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS, "--max-restarts", "0")
    wait_for_step(amazon, 8)
    wait_for(lambda: "machine created" in said(client) and "ckpt/LATEST" in objects(amazon), process)
    process.kill()
    process.wait()
    amazon.clock.advance(3600)
    assert amazon.ledger.running() == []
    polled = until_not_held(elsewhere, "poll", "mine")
    assert polled.code == 0, polled.err
    assert "died" in polled.out
    assert amazon.leftovers() == []
    assert elsewhere.run("logs", "mine").out.encode() == log(amazon)
    assert int(objects(amazon)["ckpt/LATEST"]) >= 5


def test_a_client_whose_clock_is_an_hour_wrong_is_told_so(client: Client, amazon: AwsCloud) -> None:
    """S3 refuses what is signed with a wrong clock: nothing is made, and the sentence names the clock."""
    amazon.checks_signing_time = True
    amazon.clock.advance(3600)
    ended = client.run("up", *WORDS)
    assert ended.code == 2, ended.err
    assert "the clock is wrong here" in ended.err
    assert "RunInstances" not in amazon.calls
    assert not [name for name in s3.objects(amazon, "bucket-state") if name.startswith(MINE)]


def test_a_machine_that_is_switched_off_hard_loses_only_what_was_not_uploaded(client: Client, amazon: AwsCloud) -> None:
    """The power goes between two steps, and no second machine may follow: 101, the log's beginning and a checkpoint."""
    knobs(amazon, steps=100000, pause_s=0.05, every=5)
    process = client.start("-m", "cloudtrain", "up", *WORDS, "--max-restarts", "0")
    wait_for_step(amazon, 12)
    wait_for(lambda: "machine created" in said(client), process)
    with amazon.clock.lock:
        (first,) = amazon.room.running
        machines.end(amazon, amazon.machines[first], "Server.InternalError", "somebody pulled the plug")
    assert process.wait(100) == 101, said(client)
    assert amazon.leftovers() == []
    assert machine_logs(amazon).startswith(log(amazon))
    assert int(objects(amazon)["ckpt/LATEST"]) >= 5
