"""Runs on this machine: what the trainer gets to see, who may read its files, and runs that have lost their records."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack
from cloudtrain.runs import launch
from cloudtrain.runs import sweep as sweeps
from cloudtrain.runs.leftovers import lost
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.patience import until
from tests.runs.conftest import wait_for

tagged = import_module("cloudtrain.stacks._lifecycle.processes").tagged
Make = Callable[..., Plan]
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "RUNPOD_API_KEY",
)
TELLS = """
import json, os, sys
from pathlib import Path
Path(sys.argv[1]).with_name("seen.json").write_text(json.dumps(sorted(os.environ)))
print(json.dumps({"event": "done", "time": 0.0, "steps": 0, "tokens": 0}), flush=True)
"""


def test_a_trainer_on_this_machine_does_not_see_cloud_keys(
    store: LocalFolder, local: Stack, plan: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs code of packages and of model folders."""
    (tmp_path / "fake_trainer.py").write_text(TELLS)
    for name in SECRETS:
        monkeypatch.setenv(name, "PLANTED-SECRET")
    run = wait_for(launch.start(store, plan()), "finished")
    seen = json.loads((store.folder(run.machine_folder) / "seen.json").read_text())
    if "PATH" not in seen:
        raise RuntimeError(seen)
    assert set(SECRETS) & set(seen) == set()


def test_the_files_of_a_run_are_its_owners_alone(store: LocalFolder, local: Stack, plan: Make) -> None:
    """Files 0600, folders 0700."""
    run = wait_for(launch.start(store, plan()), "finished")
    folder = store.folder(f"runs/{run.id}")
    open_ones = [str(path.relative_to(folder)) for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_ones == []


def test_sweep_names_a_local_run_that_has_lost_its_records(
    store: LocalFolder,
    local: Stack,
    plan: Make,
    knobs: Callable[..., None],
    cloudtrain: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state's folder is deleted while it runs, and nothing of it is in a state to notice."""
    monkeypatch.setattr(sweeps, "clouds", lambda wanted=(): {})
    knobs(steps=10_000)
    run = launch.start(store, plan())
    for owned in local.list_owned():
        if owned.run == run.id:
            os.kill(int(owned.id), signal.SIGSTOP)
    shutil.rmtree(store.root)
    listed = cloudtrain("sweep")
    assert run.id in listed.out + listed.err
    assert all([lost.end("local", owned) for owned in lost.find()["local"] if owned.run == run.id])
    assert [owned for owned in local.list_owned() if owned.run == run.id] == []


def test_sweep_names_a_local_run_whose_record_alone_is_lost(
    store: LocalFolder, local: Stack, plan: Make, knobs: Callable[..., None]
) -> None:
    """Its folder is there; without a supervisor, too; and the same run of another state is none of it."""
    knobs(steps=10_000)
    run = launch.start(store, plan())
    other = LocalFolder(store.root.parent / "other")
    launch.start(other, replace(plan(), job={"checkpoint": {"folder": str(other.root / "c")}, "output": "o"}))
    mine = {str(p.pid) for p in tagged(run.id) if p.state == run.intent.state}

    def lost_ones() -> set[str]:
        return {owned.id for owned in lost.find().get("local", []) if owned.run == run.id}

    assert lost_ones() == set()
    (store.root / "runs" / run.id / "intent.json").unlink()
    assert lost_ones() == mine
    for process in tagged(run.id):
        if str(process.pid) in mine and "supervisor.py" in process.command:
            os.kill(process.pid, signal.SIGKILL)
    until(lambda: lost_ones() and lost_ones() < mine, "the supervisor and its guard are gone")
    assert all([lost.end("local", owned) for owned in lost.find()["local"] if owned.run == run.id])
    assert {p.state for p in tagged(run.id)} == {Run(other, run.id).intent.state}


def test_sweep_leaves_alone_what_has_its_records(
    store: LocalFolder, local: Stack, plan: Make, knobs: Callable[..., None]
) -> None:
    """Whatever state they are in."""
    knobs(steps=10_000)
    run = launch.start(store, plan())
    assert [owned for owned in lost.find().get("local", []) if owned.run == run.id] == []
