"""A client that cannot reach its bucket: it bears that while the run lasts, and never calls the run ended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import NotFinished, Rejected, TeardownIncomplete
from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, load
from cloudtrain.records import ExitRecord, GoneRecord
from cloudtrain.runs import launch, remote
from cloudtrain.runs.client.attached import Attachment
from cloudtrain.runs.client.machinery import RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.events import ignore, refuse
from cloudtrain.runs.listing import readable_runs
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import outcome
from cloudtrain.state.errors import BucketUnreachable
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row

QUICK = remote.Pace(0.01, 0.01, 0.01, 0.01, 60.0)


class Ill(LocalFolder):
    """A state whose next readings fail."""

    failing = 0

    def read(self, key: str) -> bytes | None:
        self.fail()
        return super().read(key)

    def read_from(self, key: str, start: int, limit: int) -> bytes:
        self.fail()
        return super().read_from(key, start, limit)

    def fail(self) -> None:
        """One of the next readings."""
        if self.failing > 0:
            self.failing -= 1
            raise BucketUnreachable("the state cannot be reached", "try again")


def client() -> Attachment:
    """A client that asks nothing."""
    return Attachment(UpOptions(yes=True), RealClouds(), ignore, refuse)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ill:
    """The state of a rented run with two pieces of log; its provider has nothing to say."""
    made = Ill(tmp_path)
    begin(made, "mine", provider="aws", deadline=time.time() + 3600)
    made.write("runs/mine/machine/log/0000000000000000", b"first\n")
    made.write("runs/mine/machine/log/0000000000000006", b"second\n")
    monkeypatch.setattr(remote, "pace", lambda provider: QUICK)
    monkeypatch.setattr(remote.Monitor, "may_exist", lambda self: True)
    return made


def test_the_log_goes_on_where_the_bucket_was_lost(store: Ill) -> None:
    """Every byte once, however often a reading fails in between."""
    run = Run(store, "mine")
    reading = remote.stream(run, 0)
    read = [next(reading)]
    store.failing = 7
    while b"".join(read) != b"first\nsecond\n":
        read.append(next(reading))
    store.failing = 3
    run.write("exit.json", ExitRecord(reason="done", attempt=1))
    assert b"".join(reading) == b""
    assert store.failing == 0


def test_a_bucket_lost_for_longer_than_the_run_is_told(store: Ill) -> None:
    """Past the deadline there is nothing to wait for."""
    run = Run(store, "mine")
    run.write("intent.json", run.intent.replace(deadline=time.time() - 3600))
    run = Run(store, "mine")
    assert run.intent
    store.failing = 10**6
    with pytest.raises(BucketUnreachable):
        list(remote.stream(run, 0))


def test_a_client_in_charge_says_that_something_may_be_left() -> None:
    """Losing sight of the state is exit 6, with the command that looks again."""
    with pytest.raises(TeardownIncomplete, match="may still be running") as raised, outcome.teardown_guard("mine"):
        raise BucketUnreachable("the state cannot be reached", "")
    assert "cloudtrain poll mine" in raised.value.hint


def test_a_bucket_lost_while_attaching_does_not_hide_the_machine(store: Ill) -> None:
    """The run is known to go on: before its lease is had and its log is found, the exit is 6 too."""
    run = Run(store, "mine")
    assert run.intent
    store.failing = 99
    with pytest.raises(TeardownIncomplete, match="may still be running"):
        client().attach(run)


def test_a_bucket_lost_after_the_proof_costs_only_time(store: Ill) -> None:
    """The machine is gone, the result is not here yet: exit 101, and what brings it."""
    run = Run(store, "mine")
    run.write("exit.json", ExitRecord(code=0, reason="done", attempt=1, ended_at=1.0))
    run.write("gone.json", GoneRecord(answer="nothing of it", time=2.0))
    run = Run(store, "mine")
    assert run.gone
    store.failing = 99
    with pytest.raises(NotFinished, match="its machine is gone, but") as raised:
        client().download_result(run)
    assert "cloudtrain attach mine" in raised.value.hint


def test_a_machine_that_never_was_leaves_no_ticket(store: Ill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket holds signed addresses: it goes with the attempt."""
    store.write("runs/mine/tickets/1.json", b"{}")
    plan = Plan(
        run="mine", identity="i", provider="aws", flavour="cpu", line=row(offer="x"), job={}, spec_yaml="",
        data_sha256="", deadline=0.0, deadline_basis="", guards=(), flops_per_token=1.0,
    )  # fmt: skip
    launch.mark_failed_launch(Run(store, "mine"), plan, Rejected("no"))
    assert store.children("runs/mine/tickets") == []
    assert Run(store, "mine").gone is not None


def test_attaching_does_not_call_a_starting_run_failed(
    store: Ill, cloudtrain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is at it, and its machine may stand already: exit 101."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(store.root))
    result = cloudtrain("attach", "mine")
    assert result.code == 101
    assert "is starting" in result.err


def test_attaching_to_a_run_with_an_unproven_end_exits_6(
    store: Ill, cloudtrain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client died while it made the machine, and `down` was refused: nothing is proven."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(store.root))
    run = Run(store, "mine")
    run.write("intent.json", run.intent.replace(wanted="down"))
    result = cloudtrain("attach", "mine")
    assert result.code == 6
    assert "cloudtrain down mine" in result.err


def test_attaching_to_a_vanished_machine_has_the_rest_ended(
    store: Ill, cloudtrain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vanished machine may leave a disk that costs money: its end is proven before anybody says how it ended."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(store.root))
    followed: list[str] = []
    monkeypatch.setattr(Attachment, "attach", lambda self, run: followed.append(run.state))
    cloud = load("stacks", "aws", Stack)
    assert cloud.cloud is not None
    Run(store, "mine").write("machine.json", machine(id="i-1", kind="instance"))
    monkeypatch.setattr(Run, "alive", False)
    assert cloudtrain("attach", "mine").code == 0
    assert followed == ["died"]


def test_a_bucket_that_cannot_be_reached_is_not_called_damaged(store: Ill) -> None:
    """Nobody is told to move a record away that is whole."""
    store.failing = 1
    with pytest.raises(BucketUnreachable):
        readable_runs(store)
    assert [run.id for run in readable_runs(store)[0]] == ["mine"]
