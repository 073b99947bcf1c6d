"""Jobs on rented machines in a hostile world: networks, buckets, clocks and clients fail, and the run ends all the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.simulator import network
from tests.campaign.client import Client
from tests.campaign.fork_server import ForkServer
from tests.engine.rented_world import BUCKET, MINE, World, report, said, steps, until_not_held, wait_for, world
from tests.patience import PATIENCE_S
from tests.templates.machine.cutter import Cutter

pytestmark = pytest.mark.campaign
needs_cable = pytest.mark.skipif(not network.available(), reason="a network of its own needs root, ip and iptables")
AT = 13  # the step at which something happens


@pytest.fixture
def amazon(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """An account with a bucket and machines that really run and soon try again what has failed."""
    with world("aws", tmp_path, fork_server) as made:
        made.use_fake_trainer()
        made.room.environment.update(CLOUDTRAIN_TIMEOUT_S="3", CLOUDTRAIN_RETRY_S="0.3")
        yield made


@pytest.fixture
def client(amazon: World) -> Client:
    """A client whose state is in the bucket."""
    return amazon.client("here")


@pytest.fixture
def elsewhere(amazon: World) -> Client:
    """An empty home on another machine, as far as files go."""
    return amazon.newcomer("there")


def the_cable(amazon: World) -> network.Link:
    """Its machine's."""
    found = amazon.the_machine().link
    assert found is not None
    return found


@needs_cable
@pytest.mark.parametrize("how", ["cut", "lose"])
def test_a_network_that_comes_back_costs_nothing(client: Client, amazon: World, how: str) -> None:
    """Cable out, or packets lost in silence, until the job is done: then all of it comes home."""
    release = amazon.folder / "go"
    amazon.room.network = True
    amazon.knobs(steps=40, hold=AT, release=str(release), every=5)
    process = client.begin(*amazon.up)
    amazon.wait_for_step(AT)
    wait_for(lambda: "data: " in said(client), "the client's first look", process)
    line, sandbox = the_cable(amazon), amazon.the_machine()
    line.cut() if how == "cut" else line.lose()
    release.touch()
    wait_for(lambda: list(sandbox.folder.glob("cloudtrain/*/run/exit.json")), "the job's end", process)
    assert max(steps(amazon.log())) < 40, "the line was not gone"
    assert "exit.json" not in amazon.objects()
    line.repair() if how == "cut" else line.find()
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert amazon.both.leftovers() == []
    assert amazon.log() == amazon.machine_logs()
    assert steps(amazon.log()) == list(range(1, 41))


@needs_cable
@pytest.mark.parametrize("how", ["cut", "lose"])
def test_a_machine_without_a_network_ends_at_its_deadline(client: Client, amazon: World, how: str) -> None:
    """Nobody can reach the machine any more: it is gone by its time, and what was uploaded before is there."""
    amazon.room.network = True
    amazon.knobs(steps=40, hold=AT, every=5)
    process = client.begin(*amazon.up, "--max-restarts", "0")
    amazon.wait_for_step(AT)
    wait_for(lambda: "machine created" in said(client) and amazon.checkpoint() == 10, "the checkpoint", process)
    line = the_cable(amazon)
    line.cut() if how == "cut" else line.lose()
    before = amazon.log()
    amazon.fake.clock.advance(3600)
    assert process.wait(PATIENCE_S) == 101, said(client)
    assert "is gone without an exit record" in said(client)
    assert amazon.both.leftovers() == []
    assert amazon.log().startswith(before)
    assert amazon.machine_logs().startswith(amazon.log())
    assert amazon.checkpoint() == 10
    assert client.run("logs", "mine").out.encode() == amazon.log()
    assert [machine["reason"] for machine in report(client)["machines"]] == ["gone"]


def test_a_bucket_that_is_down_is_waited_for(client: Client, amazon: World) -> None:
    """Machine and client meet a bucket that answers 503 to everything until the job is done: exit 0, nothing lost."""
    release = amazon.folder / "go"
    amazon.knobs(steps=40, hold=AT, release=str(release), every=5)
    process = client.begin(*amazon.up)
    amazon.wait_for_step(AT)
    wait_for(lambda: "data: " in said(client), "the client's first look", process)
    amazon.fake.faults.add("S3.*", "unavailable", times=10**9)
    sandbox = amazon.the_machine()
    release.touch()
    wait_for(lambda: list(sandbox.folder.glob("cloudtrain/*/run/exit.json")), "the job's end", process)
    amazon.fake.faults.clear()
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert amazon.both.leftovers() == []
    assert amazon.log() == amazon.machine_logs()


@pytest.mark.soak
def test_a_hundred_reset_connections_lose_no_byte(client: Client, amazon: World) -> None:
    """Machine and client reach the bucket through a line that is reset at random bytes, in both directions.

    The client bears that, or ends with 6 and is followed by another one.
    """
    until = amazon.folder / "enough"
    cutter = Cutter(amazon.fake.port, 10**9, seed=7)
    cutter.armed = False
    client.environment["AWS_ENDPOINT_URL_S3"] = cutter.url
    amazon.knobs(steps=10**6, pause_s=0.05, every=25, until=str(until))
    process = client.begin(*amazon.up)
    wait_for(lambda: "data: " in said(client), "the client's first look", process)
    cutter.left, cutter.armed = 100, True
    wait_for(lambda: cutter.left == 0 or process.poll() is not None, "a hundred cuts")
    cutter.armed = False
    until.touch()
    code = process.wait(PATIENCE_S)
    if code == 6:  # it lost sight of the state and said so; whoever looks next goes on
        assert "cloudtrain poll mine" in said(client) or "cloudtrain down mine" in said(client)
        code = client.run("attach", "mine").code
    assert code == 0, said(client)
    assert amazon.both.leftovers() == []
    assert amazon.log() == amazon.machine_logs()
    assert client.run("logs", "mine").out.encode() == amazon.log()


def test_a_bundle_that_never_comes_ends_the_machine(client: Client, amazon: World) -> None:
    """The machine gives up after its patience, says so, and is gone; exit 100."""
    amazon.room.environment.update(CLOUDTRAIN_PATIENCE_S="3")
    with amazon.held_creates():
        process = client.begin(*amazon.up)
        wait_for(lambda: amazon.cloud.create in amazon.fake.calls, "the create call", process)
        amazon.lose_objects("/bundles/")
    assert process.wait(PATIENCE_S) == 100, said(client)
    assert "the bundle could not be fetched" in said(client)
    assert amazon.both.leftovers() == []


def test_a_job_without_a_client_ends_at_its_deadline(client: Client, elsewhere: Client, amazon: World) -> None:
    """kill -9, a job that would go on for ever: gone at the deadline; somebody else finds all that was uploaded."""
    amazon.knobs(steps=40, hold=AT, every=5)
    process = client.begin(*amazon.up, "--max-restarts", "0")
    amazon.wait_for_step(AT)
    wait_for(lambda: "machine created" in said(client) and amazon.checkpoint() == 10, "the checkpoint", process)
    process.kill()
    process.wait()
    amazon.fake.clock.advance(3600)
    assert amazon.fake.ledger.running() == []
    polled = until_not_held(elsewhere, "poll", "mine")
    assert polled.code == 0, polled.err
    assert "died" in polled.out
    assert amazon.both.leftovers() == []
    assert elsewhere.run("logs", "mine").out.encode() == amazon.log()
    assert amazon.checkpoint() == 10


def test_a_wrong_clock_is_named(client: Client, amazon: World) -> None:
    """S3 refuses what is signed with a wrong clock: nothing is made, and the sentence names the clock."""
    amazon.fake.checks_signing_time = True
    amazon.fake.clock.advance(3600)
    ended = client.run(*amazon.up)
    assert ended.code == 2, ended.err
    assert "the clock is wrong here" in ended.err
    assert "RunInstances" not in amazon.fake.calls
    assert not [name for name in amazon.both.objects(BUCKET) if name.startswith(MINE)]


def test_a_power_cut_loses_only_what_was_not_uploaded(client: Client, amazon: World) -> None:
    """The power goes between two steps, and no second machine may follow: 101, the log's beginning and a checkpoint."""
    amazon.knobs(steps=10**6, pause_s=0.05, every=5)
    process = client.begin(*amazon.up, "--max-restarts", "0")
    amazon.wait_for_step(AT)
    wait_for(lambda: "machine created" in said(client), "the machine's name", process)
    (first,) = amazon.room.running
    amazon.lose(first)
    assert process.wait(PATIENCE_S) == 101, said(client)
    assert amazon.both.leftovers() == []
    assert amazon.machine_logs().startswith(amazon.log())
    assert amazon.checkpoint() >= 5
