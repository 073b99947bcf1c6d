"""States that commit b36332d wrote, before documents had a version: read, shown, ended and gone on with as then.

`data/finished`, `data/failed` (two attempts: its deadline, then bad data) and `data/rented` (a second machine, after a
preemption, in the middle of its training) are the documents; `said.json` is what that commit said of them.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import MissingCredentials
from cloudtrain.providers import StopOptions
from cloudtrain.runs import candidates, reconcile, teardown
from cloudtrain.runs.client import attached
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, out_of_memory, pull
from cloudtrain.state.store import LocalFolder

DATA = Path(__file__).parent / "data"
LATER = 1796040000.0  # 2026-11-30, after all their deadlines
STATES = ("finished", "failed", "rented")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """The run of one of the states, which may be written to, at that hour."""
    monkeypatch.setattr(time, "time", lambda: LATER)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    def copy(name: str) -> Run:
        shutil.copytree(DATA / name, tmp_path / name)
        monkeypatch.setenv("CLOUDTRAIN_STATE", str(tmp_path / name))
        return Run(LocalFolder(tmp_path / name), "mine")

    return copy


@pytest.mark.parametrize("name", STATES)
def test_every_command_says_of_it_what_it_said(name: str, old: Callable[[str], Run], cloudtrain: Any) -> None:
    """ps, report, events and logs, byte for byte, as JSON and for a person."""
    run = old(name)
    said = json.loads((DATA / name / "said.json").read_text())
    assert {words.split()[0] for words in said} == {"ps", "report", "events", "logs"}
    if name == "rented":
        with pytest.raises(MissingCredentials):
            assert run.alive
    for words, then in said.items():
        now = cloudtrain(*words.split())
        assert {"code": now.code, "out": now.out, "err": now.err} == then, words


@pytest.mark.parametrize("name", STATES)
def test_every_document_of_it_is_a_record(name: str, old: Callable[[str], Run]) -> None:
    """None of them is passed over, and all have what was written."""
    run = old(name)
    assert run.quote is not None
    assert (run.intent.attempt, run.intent.wanted, run.line) == (len(run.attempts) + 1, "up", run.quote.line)
    assert run.machine is not None
    assert run.heartbeat is not None or name == "failed"
    assert (run.exit is None) == (run.gone is None) == (name == "rented")
    assert len(run.places) == (0 if name != "rented" else 9)
    journal = import_module("cloudtrain.stacks._lifecycle.journal").Journal(run.store, "mine")
    assert journal.whole
    assert len(journal.lines()) == len((run.store.read("runs/mine/journal.jsonl") or b"").splitlines())


@pytest.mark.parametrize("name", ["finished", "failed"])
def test_a_run_of_this_machine_is_ended_again(name: str, old: Callable[[str], Run]) -> None:
    """It is looked for, and the certificate that is there stays."""
    run = old(name)
    before = run.store.read("runs/mine/gone.json")
    after = teardown.down(run, StopOptions(0.0))
    assert run.store.read("runs/mine/gone.json") == before
    assert after.gone is not None
    assert [each.reason for each in after.machines()] == (["done"] if name == "finished" else ["deadline", "bad_data"])


def test_a_finished_one_is_brought_home_and_has_taught(old: Callable[[str], Run], tmp_path: Path) -> None:
    """Its result is copied, and its measurement is not added a second time."""
    run = old("finished")
    assert (pull.pull(run, tmp_path / "home") / "adapter_config.json").exists()
    before = run.store.read(measurements.FILE)
    measurements.learn(run)
    assert run.store.read(measurements.FILE) == before
    assert out_of_memory.Estimate.of(run) is not None


def test_a_rented_one_is_gone_on_with_from_its_records(old: Callable[[str], Run]) -> None:
    """The plan, the places to try with their prices, and the ones that are full."""
    run = old("rented")
    plan = reconcile.plan_again(run)
    assert (plan.provider, plan.line, plan.max_restarts) == ("aws", run.line, 3)
    assert plan.agreed_usd is not None
    assert all(place.beside_usd_per_hour for place in run.places)
    first = run.attempts[0].line
    assert first is not None
    assert list(candidates.full_places(run.store)) == [first.key.place]
    assert [each.reason for each in run.machines()] == ["preempted", ""]
    assert attached.log_begin(run) > 0


def test_a_rented_one_asked_to_end_keeps_its_record(old: Callable[[str], Run]) -> None:
    """What `down` writes before anything is asked of the cloud."""
    run = old("rented")
    before = json.loads((DATA / "rented" / "runs" / "mine" / "intent.json").read_text())
    run.write("intent.json", run.intent.replace(wanted="down"))
    now = json.loads(run.store.read("runs/mine/intent.json") or b"")
    assert now == {**before, "wanted": "down", "version": 1}


def test_a_rented_one_is_proven_gone_by_its_old_journal(
    old: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The crash protocol looks for every create in it, in the account that it names."""
    from cloudtrain.providers import Stack, load
    from cloudtrain.simulator.aws import AwsCloud
    from cloudtrain.simulator.clock import Clock

    recover, crud, journal = (
        import_module(f"cloudtrain.stacks._lifecycle.{name}") for name in ("recover", "crud", "journal")
    )
    run, clock = old("rented"), Clock(LATER)
    fake = AwsCloud(clock)
    try:
        for variable, value in fake.environment().items():
            monkeypatch.setenv(variable, value)
        cloud = load("stacks", "aws", Stack).cloud
        assert cloud is not None
        key, own = "runs/mine/journal.jsonl", cloud.account()["account"].encode()
        run.store.write(key, (run.store.read(key) or b"").replace(b"100000000001", own))  # as if it were this account
        world = crud.World("aws", cloud, journal.Journal(run.store, "mine", clock.now), clock.now, clock.sleep)
        assert len(recover.creates(world)) == 6
        proof = recover.sweep(world, [])
    finally:
        fake.stop()
    assert "lists nothing of it, twice" in proof.answer
