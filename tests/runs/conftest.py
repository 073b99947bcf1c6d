"""Runs on this machine with the fake trainer: real processes, real supervisor, no model. And a cloud for rented ones."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, load
from cloudtrain.runs import follow
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.fakes import TRAINER
from tests.patience import until
from tests.records import row

if TYPE_CHECKING:
    from tests.campaign.fork_server import ForkServer
    from tests.campaign.job_world import JobWorld


@pytest.fixture
def store(own_world: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(own_world / "state")


@pytest.fixture
def run_name(tmp_path: Path) -> str:
    """What the test's run is called, and nobody else's: folders of several workers have equal names."""
    return f"test-{os.getpid()}-{tmp_path.name}"[:40]


@pytest.fixture
def local(run_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """The local stack, with this interpreter as trainer environment and the fake as trainer. Nothing outlives the test."""
    from cloudtrain.trainer import environment

    stack = load("stacks", "local", Stack)
    module = sys.modules["cloudtrain.stacks.local"]
    real = module.template
    script = tmp_path / "fake_trainer.py"
    script.write_text(TRAINER)
    monkeypatch.setattr(module, "template", lambda *p: script if p == ("torch", "train.py") else real(*p))
    monkeypatch.setattr(environment, "find", lambda flavour: Path(sys.executable))
    yield stack
    if any(owned.run == run_name for owned in stack.list_owned()):  # of others, other tests are in the middle
        import_module("cloudtrain.stacks._lifecycle.processes").end(run_name, None, 0.0)


@pytest.fixture(scope="session")
def made(fork_server: ForkServer) -> Iterator[JobWorld]:
    """One cloud for all tests of rented machines."""
    from tests.campaign.job_world import JobWorld

    world = JobWorld("aws", fork_server)
    yield world
    world.close()


@pytest.fixture
def world(made: JobWorld) -> Iterator[JobWorld]:
    """Nothing in it; machines stand there and do not run."""
    made.begin()
    made.fake.machines_run = False
    yield made
    made.end()


@pytest.fixture
def knobs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set what the fake trainer does: steps, pause_s, every, fail, deaf."""
    return lambda **values: monkeypatch.setenv("FAKE_TRAINER", json.dumps(values))


@pytest.fixture
def plan(store: LocalFolder, run_name: str) -> Callable[..., Plan]:
    """Make a plan."""

    def make(**changes: Any) -> Plan:
        folder = store.folder(Run(store, run_name).machine_folder)
        settings: dict[str, Any] = {
            "run": run_name,
            "identity": "abc123" * 8,
            "provider": "local",
            "flavour": "cpu",
            "line": row(price_usd_per_hour=Decimal("0.36")),
            "job": {"checkpoint": {"folder": str(folder / "ckpt")}, "output": str(folder / "output")},
            "spec_yaml": "model: fake\n",
            "data_sha256": "0" * 64,
            "deadline": time.time() + 3600,
            "deadline_basis": "the test",
            "guards": ("supervisor deadline",),
            "flops_per_token": 1e9,
            "grace_s": 2.0,
            "heartbeat_s": 0.2,
        }
        return Plan(**{**settings, **changes})

    return make


def wait_for(run: Run, *states: str) -> Run:
    """Wait until the run is in one of the states."""
    until(lambda: Run(run.store, run.id).state in states, " or ".join(states))
    return Run(run.store, run.id)


def wait_for_step(run: Run, step: int) -> None:
    """Wait until the log shows that step."""

    def reached() -> bool:
        events = map(follow.parse_event, b"".join(follow.blocks(run, 0)).splitlines())
        return any(event is not None and event["event"] == "step" and event["step"] >= step for event in events)

    until(reached, f"step {step}")
