"""Where a run's documents lie, and that an older run keeps its places."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain.plan import Plan
from cloudtrain.runs import launch
from cloudtrain.runs.record import Run
from cloudtrain.state import layout
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin, intent, row

OURS = (
    "intent.json",
    "quote.json",
    "machine.json",
    "gone.json",
    "kill",
    "journal.jsonl",
    "tickets/1.json",
    "tombstone",
)
MACHINES = ("hb.json", "exit.json", "log/0000000000000000", "ckpt/LATEST", "output/metrics.json")


@pytest.mark.parametrize("name", OURS)
def test_a_document_of_the_client_lies_outside_the_machines_folder(tmp_path: Path, name: str) -> None:
    """Whatever the layout."""
    begin(LocalFolder(tmp_path), "mine")
    assert Run(LocalFolder(tmp_path), "mine").key(name) == f"runs/mine/{name}"


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize(("number", "where"), [(1, "runs/mine/"), (2, "runs/mine/machine/")])
def test_a_document_of_the_machine_lies_where_the_intent_says(
    tmp_path: Path, name: str, number: int, where: str
) -> None:
    """In a folder of its own; in the run's for an older one."""
    store = LocalFolder(tmp_path)
    begin(store, "mine", layout=number)
    assert Run(store, "mine").key(name) == where + name
    assert layout.machine_folder("mine", layout.of_run(store, "mine")) + "/" == where


def test_a_run_that_has_not_begun_is_a_new_one(tmp_path: Path) -> None:
    """Its ticket is signed before its intent is written."""
    assert Run(LocalFolder(tmp_path), "mine").machine_folder == "runs/mine/machine"


def test_a_further_attempt_of_an_older_run_keeps_its_places(tmp_path: Path) -> None:
    """Log and checkpoints go on where they are."""
    store = LocalFolder(tmp_path)
    store.write("runs/mine/intent.json", intent(layout=1).as_bytes())
    plan = Plan("mine", "i", "local", "cpu", row(), {}, "", "0", 2e9, "test", (), 1.0)
    assert launch.intent_record(plan, Run(store, "mine")).layout == 1
    assert launch.intent_record(plan, Run(store, "other")).layout == layout.NEWEST


def test_events_of_client_and_machine_are_one_list(own_world: Path, cloudtrain: Callable[..., Result]) -> None:
    """In the order of their times."""
    store = LocalFolder(own_world / "state")
    begin(store, "mine", wanted="down")
    store.append("runs/mine/events.jsonl", b'{"time": 2.0, "actor": "client", "event": "second"}')
    store.append("runs/mine/machine/events.jsonl", b'{"time": 1.0, "actor": "agent", "event": "first"}')
    assert [each["event"] for each in json.loads(cloudtrain("events", "mine", "-o", "json").out)] == ["first", "second"]
