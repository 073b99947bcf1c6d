"""Jobs on every cloud with a fake trainer: taken away at a random step, left alone by their client, on a wrong machine."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.campaign.client import Client
from tests.engine.rented_world import SPOT, UP, World, report, steps, to_the_end, until_not_held, wait_for, world
from tests.engine.test_rented_jobs import fake_trainer

pytestmark = pytest.mark.engine
CREATE = {"aws": "RunInstances", "gcp": "instances.insert", "runpod": "createPod"}
HOUR = 3600.0
EVERY = 5  # steps between two checkpoints


@pytest.fixture(params=sorted(CREATE))
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Each cloud in turn, its machines with the fake trainer."""
    with world(request.param, tmp_path) as made:
        made.use_cache(fake_trainer(tmp_path / "image"))
        yield made


@pytest.fixture(params=["gcp", "runpod"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """The clouds for which test_rented_jobs.py has no lost machines."""
    with world(request.param, tmp_path) as made:
        made.use_cache(fake_trainer(tmp_path / "image"))
        yield made


@pytest.fixture
def mi300x(tmp_path: Path) -> Iterator[World]:
    """RunPod's GPU pods."""
    with world("mi300x", tmp_path) as made:
        yield made


def seeded() -> Random:
    """A random choice that can be made again."""
    seed = int(os.environ.get("CLOUDTRAIN_SEED") or Random().randrange(10**6))
    print(f"CLOUDTRAIN_SEED={seed}")
    return Random(seed)


def kill_everything(client: Client) -> None:
    """The client's machine loses its power: command, engine and plugin at once."""
    mine = f"HOME={client.environment['HOME']}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mine in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)


def begun_and_killed(each: World, *words: str) -> None:
    """`up`, and the power goes as soon as the machine was asked for; the request itself is on its way."""
    each.fake.slow_s = 1.0
    client = each.client("here")
    process = client.start("-m", "cloudtrain", *UP, "--max-hours", "1h", *words, *each.cloud.words)
    wait_for(lambda: CREATE[each.name] in each.fake.calls, "the create call")
    kill_everything(client)
    assert process.wait(60) == -signal.SIGKILL
    assert not each.room.running, "the machine came before the kill"
    wait_for(lambda: each.room.running, "the machine")
    each.fake.slow_s = 0.0


def test_a_machine_that_is_taken_back_at_a_random_step_is_followed_by_another(other: World) -> None:
    """With the provider's notice: nothing is lost, the last step is the last, the report has both machines."""
    at = seeded().randrange(3, 30)
    other.knobs(steps=60, pause_s=0.1, every=1000)
    client = other.client("here")
    market = (SPOT[other.name],) if other.name in SPOT else ()
    process = client.start("-m", "cloudtrain", *UP, "--max-hours", "1h", *market, *other.cloud.words)
    other.wait_for_step(at)
    (first,) = other.room.running
    other.take_back(first, 20.0)
    other.knobs(steps=60, pause_s=0.02, every=1000)
    assert process.wait(200) == 0, (client.folder / "output.txt").read_text()
    assert other.both.leftovers() == []
    assert steps(other.log()) == list(range(1, 61))
    assert other.log() == other.machine_logs()
    account = report(client)
    assert [machine["reason"] for machine in account["machines"]] == ["preempted", "done"]
    assert len({machine["id"] for machine in account["machines"]}) == 2
    assert account["steps"] == 60


def test_a_machine_that_dies_at_a_random_step_costs_at_most_one_checkpoint_interval(other: World) -> None:
    """Without a word: the next one goes on from what was shipped, and the report has both machines."""
    at = seeded().randrange(8, 30)
    other.knobs(steps=60, pause_s=0.1, every=EVERY)
    client = other.client("here")
    process = client.start("-m", "cloudtrain", *UP, "--max-hours", "1h", *other.cloud.words)
    other.wait_for_step(at)
    wait_for(lambda: int(other.objects().get("ckpt/LATEST", b"0")) > at - EVERY, "the checkpoint")
    (first,) = other.room.running
    other.knobs(steps=60, pause_s=0.02, every=EVERY)
    other.lose(first)
    assert process.wait(200) == 0, (client.folder / "output.txt").read_text()
    assert other.both.leftovers() == []
    done = steps(other.log())
    goes_on = max([place for place in range(1, len(done)) if done[place] != done[place - 1] + 1], default=0)
    assert done[goes_on:] == list(range(done[goes_on], 61))
    assert done[:goes_on] == list(range(1, goes_on + 1))
    unsent = set(range(1, 61)) - set(done)  # the end of a lost machine's log may lag behind its checkpoint
    assert min(unsent, default=61) > at, "what had been sent is lost"
    assert len(done) + len(unsent) - 60 <= EVERY, "more than a checkpoint's interval was made again"
    account = report(client)
    assert [machine["reason"] for machine in account["machines"]] == ["gone", "done"]
    assert account["steps"] == 60


def test_a_client_that_dies_right_after_the_create_call_is_not_needed(each: World) -> None:
    """The power goes: the job ends, the machine ends itself, and `poll` from an empty home does everything else."""
    each.knobs(steps=20, pause_s=0.05)
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
    return "goes on" in polled.out


def test_a_look_at_a_job_whose_client_died_does_not_end_it(each: World) -> None:
    """`poll` while it still trains leaves it alone, though no client ever wrote down that it has a machine."""
    each.knobs(steps=400, pause_s=0.1, every=EVERY)
    begun_and_killed(each)
    each.wait_for_step(3)
    elsewhere = each.newcomer("there")
    wait_for(lambda: looked_at(elsewhere), "the end of the killed client's lease")
    assert each.room.running
    assert elsewhere.run("down", "mine").code == 0
    assert each.both.leftovers() == []
    assert int(each.objects()["ckpt/LATEST"]) >= 3


def test_a_job_that_nobody_looks_after_ends_at_its_deadline(each: World) -> None:
    """The client died after the create call, and the job would go on for ever: the machine goes, what was made stays."""
    each.knobs(steps=100000, pause_s=0.05, every=EVERY)
    begun_and_killed(each, "--max-restarts", "0")
    wait_for(lambda: int(each.objects().get("ckpt/LATEST", b"0")) >= EVERY, "a checkpoint")
    each.let_time_pass(HOUR)
    each.wait_for_quiet()
    assert each.fake.ledger.running() == []
    elsewhere = each.newcomer("there")
    polled = until_not_held(elsewhere, "poll", "mine", "--finish")
    assert polled.code in (0, 101), each.told(polled)
    assert each.both.leftovers() == []
    assert elsewhere.run("logs", "mine").out.encode() == each.log()
    assert each.machine_logs().startswith(each.log())
    assert int(each.objects()["ckpt/LATEST"]) >= EVERY
    assert not (elsewhere.folder / "mine").exists()


def test_a_machine_without_its_accelerator_ends_at_once(mi300x: World) -> None:
    """No /dev/kfd: said in a sentence before gigabytes are fetched, no second machine, nothing left."""
    if Path("/dev/kfd").exists():
        pytest.skip("this machine has an AMD GPU")
    ended = to_the_end(mi300x.client("here"), *UP, "--max-hours", "1h", *mi300x.cloud.words)
    assert ended.code == 100, mi300x.told(ended)
    assert (
        "the accelerator it was to use is not there: this machine has no rocm driver (/dev/kfd is absent)" in ended.out
    )
    assert mi300x.fake.calls.count("createPod") == 1
    assert mi300x.both.leftovers() == []
    account = report(mi300x.client("there"))
    assert account["state"] == "failed"
    assert [machine["reason"] for machine in account["machines"]] == ["wrong_accelerator"]
