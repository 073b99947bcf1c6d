"""Jobs on every cloud with a fake trainer: taken away in the middle, left alone by their client, on a wrong machine.

Pairs of a behaviour and a cloud that are left out of the gate carry `pytest.mark.soak`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.client import Client
from tests.campaign.fork_server import ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.engine.pairs import gate
from tests.engine.rented_world import SPOT, World, report, said, steps, until_not_held, wait_for, world
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.campaign
HOUR = 3600.0
EVERY = 5  # steps between two checkpoints
JOBS = ("aws", "gcp", "runpod")
AT = 13  # the step at which something happens: neither the first nor one with a checkpoint


@pytest.fixture(params=JOBS)
def each(request: pytest.FixtureRequest, tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """Each cloud in turn, its machines with the fake trainer."""
    with world(request.param, tmp_path, fork_server) as made:
        made.use_fake_trainer()
        yield made


@pytest.fixture
def mi300x(tmp_path: Path, fork_server: ForkServer) -> Iterator[World]:
    """RunPod's GPU pods."""
    with world("mi300x", tmp_path, fork_server) as made:
        yield made


def begun_and_killed(each: World, *words: str) -> None:
    """`up`, and the power goes as soon as the machine was asked for; the request itself is on its way."""
    client = each.client("here")
    assert isinstance(client, ForkedClient)
    with each.held_creates():
        process = client.begin(*each.up, *words)
        wait_for(lambda: each.cloud.create in each.fake.calls, "the create call", process)
        client.kill_all()
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
        assert not each.room.running
    wait_for(lambda: each.room.running, "the machine")


@gate("gcp", "runpod", of=JOBS, fixture="each")
def test_a_preempted_machine_is_followed_by_another(each: World) -> None:
    """With the provider's notice: nothing is lost, the last step is the last, the report has both machines."""
    each.knobs(steps=40, hold=AT, every=1000)
    client = each.client("here")
    market = (SPOT[each.name],) if each.name in SPOT else ()
    process = client.begin(*each.up, *market)
    each.wait_for_step(AT)
    each.knobs(steps=40, every=1000)
    (first,) = each.room.running
    each.take_back(first, 60.0)
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert each.both.leftovers() == []
    assert steps(each.log()) == list(range(1, 41))
    assert each.log() == each.machine_logs()
    account = report(client)
    assert [machine["reason"] for machine in account["machines"]] == ["preempted", "done"]
    assert len({machine["id"] for machine in account["machines"]}) == 2
    assert account["steps"] == 40


@gate("gcp", "runpod", of=JOBS, fixture="each")
def test_a_lost_machine_costs_at_most_one_checkpoint_interval(each: World) -> None:
    """Without a word: the next one goes on from what was shipped, and the report has both machines."""
    each.knobs(steps=40, hold=AT, every=EVERY)
    client = each.client("here")
    process = client.begin(*each.up)
    each.wait_for_step(AT)
    wait_for(lambda: each.checkpoint() == 10, "the checkpoint", process)
    each.knobs(steps=40, every=EVERY)
    (first,) = each.room.running
    each.lose(first)
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert each.both.leftovers() == []
    assert steps(each.log()) == [*range(1, AT + 1), *range(11, 41)]
    account = report(client)
    assert [machine["reason"] for machine in account["machines"]] == ["gone", "done"]
    assert account["steps"] == 40


def test_a_client_killed_after_the_create_call_is_not_needed(each: World) -> None:
    """The power goes: the job ends, the machine ends itself, and `poll` from an empty home does everything else."""
    each.knobs(steps=20)
    begun_and_killed(each)
    each.wait_for_quiet()
    elsewhere = each.newcomer("there")
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code == 0, each.told(polled)
    assert (elsewhere.folder / "mine" / "adapter_config.json").exists()
    assert each.both.leftovers() == []
    assert elsewhere.run("logs", "mine").out.encode() == each.log() == each.machine_logs()
    account = report(elsewhere)
    assert account["state"] == "finished"
    (machine,) = account["machines"]
    assert machine["seconds"] > 0
    assert machine["reason"] == "done"


def looked_at(client: Client) -> bool:
    """One look, which leaves the run alone; False while the killed client's lease still holds."""
    polled = client.run("poll", "mine")
    assert polled.code == 101, polled.out + polled.err
    return "another client" not in polled.out


def test_a_poll_does_not_end_a_job_whose_client_died(each: World) -> None:
    """`poll` while it still trains leaves it alone, though no client ever wrote down that it has a machine."""
    each.knobs(steps=40, hold=AT, every=EVERY)
    begun_and_killed(each)
    each.wait_for_step(AT)
    elsewhere = each.newcomer("there")
    wait_for(lambda: looked_at(elsewhere), "the end of the killed client's lease")
    assert each.room.running
    assert elsewhere.run("down", "mine").code == 0
    assert each.both.leftovers() == []
    assert each.checkpoint() == AT


def test_a_job_that_nobody_looks_after_ends_at_its_deadline(each: World) -> None:
    """The client died after the create call, and the job would go on for ever: the machine goes, what was made stays."""
    each.knobs(steps=40, hold=AT, every=EVERY)
    begun_and_killed(each, "--max-restarts", "0")
    each.wait_for_step(AT)
    wait_for(lambda: each.checkpoint() == 10, "the checkpoint")
    each.let_time_pass(HOUR)
    each.wait_for_quiet()
    assert each.fake.ledger.running() == []
    elsewhere = each.newcomer("there")
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code in (0, 101), each.told(polled)
    assert each.both.leftovers() == []
    assert elsewhere.run("logs", "mine").out.encode() == each.log()
    assert each.machine_logs().startswith(each.log())
    assert each.checkpoint() >= 10
    assert not (elsewhere.folder / "mine").exists()


def test_a_machine_without_its_accelerator_ends_at_once(mi300x: World) -> None:
    """No /dev/kfd: said in a sentence before gigabytes are fetched, no second machine, nothing left."""
    if Path("/dev/kfd").exists():
        pytest.skip("this machine has an AMD GPU")
    ended = mi300x.client("here").run(*mi300x.up)
    assert ended.code == 100, mi300x.told(ended)
    assert (
        "the accelerator it was to use is not there: this machine has no AMD GPU driver (/dev/kfd is absent)"
        in ended.err
    )
    assert mi300x.fake.calls.count("createPod") == 1
    assert mi300x.both.leftovers() == []
    account = report(mi300x.client("there"))
    assert account["state"] == "failed"
    assert [machine["reason"] for machine in account["machines"]] == ["wrong_accelerator"]
