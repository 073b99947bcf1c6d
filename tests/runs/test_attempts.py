"""How the search for a machine ends says what is true: after an interrupt, and when somebody ends the run meanwhile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import (
    Cancelled,
    CloudtrainError,
    Interrupted,
    NoCapacity,
    NoQuotaHere,
    OverBudget,
    TeardownIncomplete,
)
from cloudtrain.offer import OfferKey
from cloudtrain.plan import Plan
from cloudtrain.records import AttemptRecord, GoneRecord
from cloudtrain.runs import attempts, candidates, launch
from cloudtrain.runs.events import Event, PlaceFull
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row

PLAN = Plan(
    run="mine", identity="0" * 64, provider="runpod", flavour="cpu", line=row(), job={}, spec_yaml="", data_sha256="",
    deadline=9e9, deadline_basis="a test", guards=(), flops_per_token=1.0,
)  # fmt: skip
PLACES = [SimpleNamespace(key=OfferKey("runpod", "a machine", "here", zone, "cpu", 1, "spot")) for zone in ("a", "b")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that is begun."""
    begun = Run(LocalFolder(tmp_path), "mine")
    begin(begun.store, "mine", provider="runpod")
    return begun


def search(run: Run, monkeypatch: pytest.MonkeyPatch, start: Any, **more: Any) -> tuple[Run | None, str]:
    """What a search through two places comes to, when a start of the run does this."""
    monkeypatch.setattr(launch, "start", start)
    told: list[Event] = more.setdefault("told", [])
    plan_at = more.get("plan_at", lambda place: PLAN)
    return attempts.start_somewhere(run.store, PLACES, plan_at, told.append, more.get("passed_over", ()))


def end_of(run: Run, monkeypatch: pytest.MonkeyPatch, start: Any) -> CloudtrainError:
    """What it raises."""
    with pytest.raises(CloudtrainError) as raised:
        search(run, monkeypatch, start)
    return raised.value


def interrupt(*given: Any) -> Any:
    """Ctrl-C."""
    raise KeyboardInterrupt


def test_an_interrupt_with_certified_absence_says_that_nothing_is_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """130."""
    run.write("gone.json", GoneRecord(time=1.0))
    error = end_of(run, monkeypatch, interrupt)
    assert (type(error), error.exit_code) == (Interrupted, 130)


def test_an_interrupt_without_a_certificate_says_something_may_be_left(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6: between the machine's being made and its record, or in the middle of its removal."""
    error = end_of(run, monkeypatch, interrupt)
    assert (type(error), error.hint) == (TeardownIncomplete, "cloudtrain down mine")


def test_an_interrupt_before_the_first_record_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was asked for without it."""
    run.store.delete("runs/mine/intent.json")
    assert type(end_of(run, monkeypatch, interrupt)) is Interrupted


def test_a_run_ended_between_two_places_is_not_begun_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down` came, proved that nothing is there, and the client does not try the next place."""
    starts: list[int] = []

    def full(*given: Any) -> Any:
        starts.append(1)
        begin(run.store, "mine", provider="runpod", wanted="down")
        raise NoCapacity("full")

    assert type(end_of(run, monkeypatch, full)) is Cancelled
    assert len(starts) == 1


def test_every_place_is_tried_while_nobody_ends_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last answer is given back, each full place told and remembered."""
    told: list[Event] = []

    def full(*given: Any) -> Any:
        raise NoCapacity(f"full {len(told)}")

    assert search(run, monkeypatch, full, told=told) == (None, "full 1")
    assert told == [PlaceFull("a machine", f"here/{zone}", f"full {n}") for n, zone in enumerate("ab")]
    assert set(candidates.full_places(run.store)) == {place.key.place for place in PLACES}


def test_a_place_that_is_too_expensive_can_be_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart tries the next place; a first start asks nobody twice and says so."""
    started: list[Plan] = []

    def plan_at(place: Any) -> Plan:
        if place is PLACES[0]:
            raise OverBudget("too much")
        return PLAN

    def start(store: Any, plan: Plan, say: Any) -> Run:
        started.append(plan)
        return run

    found = search(run, monkeypatch, start, plan_at=plan_at, passed_over=(OverBudget,))
    assert (found, started) == ((run, ""), [PLAN])
    with pytest.raises(OverBudget):
        search(run, monkeypatch, start, plan_at=plan_at)


def test_after_an_interrupt_a_run_that_had_a_machine_continues(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says whether there is a checkpoint to continue from."""
    run.write("gone.json", GoneRecord(time=1.0))
    assert end_of(run, monkeypatch, interrupt).hint == "`cloudtrain up` starts it again"
    run.write("attempts/001.json", AttemptRecord(machine=machine()))
    assert end_of(Run(run.store, "mine"), monkeypatch, interrupt).hint == "`cloudtrain up` resumes it"


def test_a_place_without_quota_is_passed_over(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not remembered as full; where no place has the quota, that is why nothing starts (exit 4)."""
    asked: list[str] = []

    def start(store: Any, plan: Plan, log: Any) -> Any:
        asked.append("")
        if len(asked) == 2:
            return run
        raise NoQuotaHere("quota X is 0 in here", "ask for more of X: the page")

    told: list[Event] = []
    assert search(run, monkeypatch, start, told=told) == (run, "")
    assert [event.answer for event in told if isinstance(event, PlaceFull)] == ["quota X is 0 in here"]
    assert not candidates.full_places(run.store)
    asked.append("")
    error = end_of(run, monkeypatch, start)
    assert (type(error), error.exit_code) == (NoQuotaHere, 4)
    assert error.hint == "ask for more of X: the page"
