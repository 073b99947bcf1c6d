"""How a renting `up` ends says what is true: after an interrupt, and when somebody has ended the run meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.cli.up import renting
from cloudtrain.cli.up.watching import Interrupted
from cloudtrain.errors import Cancelled, CloudtrainError, NoCapacity, TeardownIncomplete
from cloudtrain.plan import Plan
from cloudtrain.records import GoneRecord
from cloudtrain.runs import candidates, launch
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, row

PLAN = Plan(
    run="mine", identity="0" * 64, provider="runpod", flavour="cpu", line=row(), job={}, spec_yaml="", data_sha256="",
    deadline=9e9, deadline_basis="a test", guards=(), flops_per_token=1.0,
)  # fmt: skip
LINE = SimpleNamespace(usd=None, offer=SimpleNamespace(name="a machine", region="here", zone="", key=None))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that is begun."""
    begun = Run(LocalFolder(tmp_path), "mine")
    begin(begun.store, "mine", provider="runpod")
    return begun


def end_of(run: Run, monkeypatch: pytest.MonkeyPatch, start: Any) -> CloudtrainError:
    """What `up` raises with two places to try, when a start of the run does this."""
    monkeypatch.setattr(renting.planning, "plan_for", lambda *_: replace(PLAN))
    monkeypatch.setattr(renting, "checked", lambda plan, *_: (plan, None))
    monkeypatch.setattr(renting, "show", lambda *_: None)
    monkeypatch.setattr(renting, "worst_usd", lambda *_: 1, raising=False)
    monkeypatch.setattr(renting.planning, "agree", lambda *_: None)
    monkeypatch.setattr(candidates, "remember_full", lambda *_: None)
    monkeypatch.setattr(launch, "start", start)
    given: dict[str, Any] = {
        "first": PLAN,
        "lines": [LINE, LINE],
        "dry_run": False,
        "machine_only": True,
        "max_restarts": 3,
    }
    anything: Any = None
    with pytest.raises(CloudtrainError) as told:
        renting.attempt_each(run.store, anything, anything, anything, None, given)
    return told.value


def interrupt(*given: Any) -> Any:
    """Ctrl-C."""
    raise KeyboardInterrupt


def test_an_interrupt_after_which_the_absence_is_certified_says_that_nothing_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """130."""
    run.write("gone.json", GoneRecord(time=1.0))
    error = end_of(run, monkeypatch, interrupt)
    assert (type(error), error.exit_code) == (Interrupted, 130)


def test_an_interrupt_without_a_certificate_says_that_something_may_be_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6: between the machine's being made and its record, or in the middle of its removal."""
    error = end_of(run, monkeypatch, interrupt)
    assert (type(error), error.hint) == (TeardownIncomplete, "cloudtrain down mine")


def test_an_interrupt_before_the_first_record_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was asked for without it."""
    run.store.delete("runs/mine/intent.json")
    assert type(end_of(run, monkeypatch, interrupt)) is Interrupted


def test_a_run_that_is_ended_between_two_places_is_not_begun_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` came, proved that nothing is there, and the client does not try the next place."""
    starts: list[int] = []

    def full(*given: Any) -> Any:
        starts.append(1)
        begin(run.store, "mine", provider="runpod", wanted="down")
        raise NoCapacity("full")

    assert type(end_of(run, monkeypatch, full)) is Cancelled
    assert len(starts) == 1


def test_every_place_is_tried_while_nobody_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 with the last answer."""
    starts: list[int] = []

    def full(*given: Any) -> Any:
        starts.append(1)
        raise NoCapacity("full")

    error = end_of(run, monkeypatch, full)
    assert (type(error), len(starts), "full" in error.message) == (NoCapacity, 2, True)
