"""One look at a rented run: what it says was done, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import NoCapacity, NotFinished, TeardownIncomplete, UsageError
from cloudtrain.records import ExitRecord, GoneRecord
from cloudtrain.runs import launch, live_price
from cloudtrain.runs.events import Event, Message, PlaceFull
from cloudtrain.runs.poll import Polled, PollOptions, PollReport, look, newest, poll
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin
from tests.runs.test_reconcile import changed, ended, run

__all__ = ["run"]  # a fixture


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider is asked for a price."""
    monkeypatch.setattr(live_price, "ask", lambda line: (None, "not asked"))


def looked(run: Run) -> tuple[Polled, list[Event]]:
    """What a look comes to, and what it tells."""
    told: list[Event] = []
    return look(run, PollOptions(), told.append), told


def test_a_reclaimed_machine_is_followed_by_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started from the records, and the run is not over."""

    def start(store: Any, plan: Any, say: Any) -> Run:
        run.store.delete("runs/mine/gone.json")
        return changed(run, attempt=2)

    monkeypatch.setattr(launch, "start", start)
    polled, told = looked(run)
    assert (polled.over, polled.error, polled.done) == (False, None, "restarted on another machine, i-1")
    assert told == [Message("the machine of attempt 1 was preempted; looking for another", detail=True)]


def test_no_machine_anywhere_is_told_and_tried_again_later(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is not over: the next look tries again."""

    def full(*given: Any) -> Run:
        raise NoCapacity("full")

    monkeypatch.setattr(launch, "start", full)
    polled, told = looked(run)
    assert (polled.over, type(polled.error)) == (False, NoCapacity)
    assert "no place had a machine to resume on: full" in polled.done
    assert isinstance(told[-1], PlaceFull)


def test_down_between_two_places_ends_the_search_and_the_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart does not begin again what somebody has just ended."""
    starts: list[int] = []

    def full(*given: Any) -> Run:
        starts.append(1)
        changed(run, wanted="down")
        raise NoCapacity("full")

    monkeypatch.setattr(launch, "start", full)
    polled, _ = looked(run)
    assert (polled.over, polled.error, len(starts)) == (True, None, 1)
    assert Run(run.store, run.id).wanted == "down"


def test_a_run_that_another_client_holds_is_left_alone(run: Run) -> None:
    """It is named, and not over."""
    with LocalFolder(run.store.root).hold("runs/mine/client.lock"):  # type: ignore[attr-defined]
        polled, told = looked(run)
    assert (polled.over, told) == (False, [])
    assert polled.done.startswith("another client holds it")


def test_the_report_raises_for_what_is_left(run: Run) -> None:
    """A machine that may be left comes before a run that goes on; damage before both."""
    over = Polled(run, True, "", None, None)
    going = Polled(run, False, "", None, None)
    lost = Polled(run, False, "", None, TeardownIncomplete("something", "again"))
    PollReport([over], []).raise_for_rest()
    for polled, damaged, error in (
        ([over, going], [], NotFinished),
        ([going, lost], [], TeardownIncomplete),
        ([lost], ["a record is damaged"], UsageError),
    ):
        with pytest.raises(error):
            PollReport(polled, damaged).raise_for_rest()


def test_only_rented_runs_with_a_job_are_looked_at(run: Run, tmp_path: Path) -> None:
    """All means all of those that are not over; a named one of another kind is an error."""
    begin(run.store, "here")
    begin(run.store, "idle", provider="aws", idle=True)
    run = ended(run, "done")
    assert poll(run.store, None, True, PollOptions(), lambda event: None).polled == []
    for name in ("here", "idle"):
        with pytest.raises(UsageError, match="has no job on a rented machine"):
            poll(run.store, name, False, PollOptions(), lambda event: None)


def test_without_a_name_the_newest_rented_run_is_looked_at(run: Run) -> None:
    """One here, or idle, is passed over, and one that is over, while another is not."""
    begin(run.store, "rented", provider="aws", created=run.intent.created - 10)
    begin(run.store, "here", created=run.intent.created + 10)
    begin(run.store, "idle", provider="aws", idle=True, created=run.intent.created + 20)
    assert newest(run.store).id == run.id
    ended(run, "done")
    assert newest(run.store).id == "rented"
    older = Run(run.store, "rented")
    older.write("exit.json", ExitRecord(reason="done"))
    older.write("gone.json", GoneRecord(time=1.0))
    assert newest(run.store).id == run.id
