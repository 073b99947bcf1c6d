"""Two people with one account and the same spec: what one of them does never touches the other's machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudtrain.providers import Stack, StopOptions
from cloudtrain.runs import launch
from cloudtrain.runs.record import Run
from cloudtrain.simulator.clock import Clock
from cloudtrain.state import identity
from cloudtrain.state.store import LocalFolder
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS
from tests.campaign.fork_server import MACHINE, ForkServer
from tests.campaign.forked_client import ForkedClient
from tests.engine.pairs import gate
from tests.records import begin, put
from tests.runs.trust_world import command

pytestmark = pytest.mark.machine

LATE = {False: ("gce", "runpod"), True: ("aws", "tpu")}  # what the gate plays; the other pairs are the soak's
GONE = {"run": "mine", "provider": "local", "said_by": "test", "answer": "nothing", "time": 2.0, "billed_s": 1.0}


class Two:
    """One cloud, the people `a` and `b`, each with a state of their own; both call their run `mine`."""

    def __init__(self, name: str, server: ForkServer, folder: Path) -> None:
        self.fake = TARGETS[name].fake(Clock())
        self.up = ("up", *Client.up_words(), *TARGETS[name].words, "--name", "mine")
        self.a, self.b = (self.person(folder / each, server) for each in ("a", "b"))

    def person(self, folder: Path, server: ForkServer) -> ForkedClient:
        """Somebody with an empty home."""
        folder.mkdir()
        own = {MACHINE: folder.name, "HOME": str(folder), "CLOUDTRAIN_CACHE": str(folder / "cache")}
        return ForkedClient(server, folder, self.fake, **own)

    def rent(self, person: ForkedClient) -> None:
        """`up`, which is not what the test is about."""
        code, said = command(person, *self.up)
        if code:
            raise RuntimeError(said)

    def machines(self) -> set[str]:
        """What costs money and is a machine."""
        words = ("instance", "pod", "virtual machine", "TPU node", "droplet")
        return {entry.id for entry in self.fake.ledger.running() if entry.what.startswith(words)}


@pytest.fixture
def two(request: pytest.FixtureRequest, fork_server: ForkServer, tmp_path: Path) -> Iterator[Two]:
    """`a` has rented a machine."""
    made = Two(request.param, fork_server, tmp_path)
    made.rent(made.a)
    if not made.machines():
        raise RuntimeError(made.fake.leftovers())
    yield made
    made.fake.stop()


@gate("aws", "gce", "tpu", "runpod", fixture="two")
def test_the_same_spec_in_two_states_is_two_machines(two: Two) -> None:
    """And each ends its own: `b`'s certificate says nothing about `a`'s machine."""
    before = two.machines()
    two.rent(two.b)
    assert len(two.machines() - before) == 1
    assert command(two.b, "down", "mine")[0] == 0
    assert two.machines() == before


@gate("aws", "tpu", fixture="two")
def test_each_state_ends_its_own_machine_whatever_its_records_say(two: Two) -> None:
    """Also when what `b` wrote about the run is damaged."""
    before = two.machines()
    two.rent(two.b)
    for name in ("intent.json", "journal.jsonl", "machine.json"):
        two.b.document("mine", name).write_bytes(b"[1]")
    command(two.b, "down", "mine")
    assert before <= two.machines()
    assert command(two.a, "down", "mine")[0] == 0
    assert not before & two.machines()


@gate("gce", "runpod", fixture="two")
def test_a_sweep_of_one_state_leaves_the_machines_of_another(two: Two) -> None:
    """As long as their own deadline lies ahead, even where a run of that name is ended here."""
    before = two.machines()
    begin(LocalFolder(two.b.state), "mine", wanted="down", deadline=2.0)
    put(LocalFolder(two.b.state), "runs/mine/gone.json", GONE)
    said = command(two.b, "sweep", "-y", "--all")[1]
    assert two.machines() == before
    assert f"of another state, {identity.find(LocalFolder(two.a.state))}: left alone" in said


@pytest.mark.parametrize(
    ("two", "late"),
    [
        pytest.param(name, late, marks=() if name in LATE[late] else pytest.mark.soak)
        for name in TARGETS
        for late in (False, True)
    ],
    indirect=["two"],
)
def test_a_sweep_removes_what_another_state_should_have(two: Two, late: bool) -> None:
    """Past its deadline whoever owns it, before it when that is asked for."""
    if late:
        two.b.environment["CLOUDTRAIN_NOW"] = str(time.time() + 2 * 3600)
    code, said = command(two.b, "sweep", "-y", *([] if late else ["--all-states"]))
    assert (code, two.machines()) == (0, set()), said
    assert ("past its deadline" if late else "asked for") in said


def test_down_in_one_state_leaves_the_local_run_of_another(
    store: LocalFolder, local: Stack, plan: Callable[..., object], knobs: Callable[..., None], tmp_path: Path
) -> None:
    """The mark of its processes is not the run's name alone."""
    knobs(steps=10_000)
    run: Run = launch.start(store, plan())  # type: ignore[arg-type]
    local.stop(run.id, LocalFolder(tmp_path / "other"), StopOptions(0.0))
    assert Run(store, run.id).state == "running"
