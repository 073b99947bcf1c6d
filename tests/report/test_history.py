"""Reading a state: every run and every night once, and a sentence about what cannot be read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.records import BudgetsRecord
from cloudtrain.report.history import history
from cloudtrain.report.rows import rows, status_of
from cloudtrain.state.store import LocalFolder
from tests.report import histories
from tests.report.histories import account, night
from tests.report.states import DAY_S, FIRST, fortnight, put_night

NOW = FIRST + 14 * DAY_S


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """A state with fourteen nights."""
    store = LocalFolder(tmp_path)
    fortnight(store)
    return store


def test_a_night_has_the_figures_of_its_run(store: LocalFolder) -> None:
    """Newest first; one that made no run has none, also where it names an earlier one."""
    found = history(store, NOW)
    assert (len(found.entries), len(found.nights), found.faults) == (11, 14, ())
    told = {each.date: (each.outcome, each.entry.run[-2:] if each.entry else None) for each in found.nights}
    assert next(iter(told)) == "2026-11-29"
    assert told["2026-11-29"] == ("finished", "0d")
    assert told["2026-11-19"] == ("missed", None)
    assert told["2026-11-25"] == ("unchanged", None)
    assert {each.line for each in found.entries} == {"llama-nightly"}


def test_statuses_are_of_nights_and_of_runs(store: LocalFolder) -> None:
    """Each night is one row, each run that none began another."""
    kinds = [status_of(row) for row in rows(history(store, NOW))]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "finished": 10,
        "failed": 1,
        "missed": 1,
        "skipped": 1,
        "unchanged": 1,
    }


def test_a_run_of_two_nights_costs_once() -> None:
    """It is the first one's, which began it; the second says that it was going on."""
    nights = [("s", night("2026-11-28", "going on", "r")), ("s", night("2026-11-27", "started", "r"))]
    found = histories.history([account("r", state="running")], nights)
    assert [(each.date, each.entry is not None) for each in found.nights] == [
        ("2026-11-28", False),
        ("2026-11-27", True),
    ]
    assert [(row.date, row.outcome, status_of(row)) for row in rows(found)] == [
        ("2026-11-28", "going on", "open"),
        ("2026-11-27", "running", "open"),
    ]


def test_a_night_that_began_nothing_has_no_run() -> None:
    """The run that it names as unchanged was begun by hand: it is a row of its own, under its spec."""
    found = histories.history([account("r")], [("s", night("2026-11-30", "unchanged", "r"))])
    assert [(row.is_night, row.line, row.entry is not None) for row in rows(found)] == [
        (True, "s", False),
        (False, "llama-3.1-8b-qlora", True),
    ]


def test_a_leak_has_failed_whatever_its_run_says() -> None:
    """The run is finished, and something of it may still cost."""
    found = histories.history([account("r")], [("s", night("2026-11-28", "leak", "r"))])
    assert [(row.outcome, status_of(row)) for row in rows(found)] == [("leak", "failed")]


def test_since_leaves_out_older_runs_and_nights(store: LocalFolder) -> None:
    """Both by the same instant."""
    found = history(store, NOW, begun_after=FIRST + 7 * DAY_S)
    assert (len(found.entries), len(found.nights)) == (6, 7)


def test_damaged_records_are_sentences_and_hide_nothing(store: LocalFolder) -> None:
    """A run, a night, a bill and the budget, each of them broken."""
    for key in ("runs/bad/intent.json", "nights/llama-nightly/nights/2026-11-30.json", "budgets.json"):
        store.write(key, b"[1]")
    store.write("runs/llama-3.1-8b-qlora-000000/bill.json", b'{"usd": "x"}')
    found = history(store, NOW)
    assert (len(found.entries), len(found.nights)) == (10, 14)
    assert len(found.faults) == 4
    for name in ("bad/intent.json", "2026-11-30.json", "budgets.json", "bill.json"):
        assert any(name in fault for fault in found.faults), name


def test_weeks_begin_in_the_time_zone_of_the_budget(store: LocalFolder) -> None:
    """One that there is not is a sentence, and UTC."""
    store.write("budgets.json", BudgetsRecord(week_usd=Decimal(60), timezone="Europe/Berlin").as_bytes())
    found = history(store, NOW)
    assert found.zone_name == "Europe/Berlin"
    assert found.budget is not None
    assert (found.budget.week_limit_usd, found.budget.month_limit_usd) == (60, None)
    assert found.budget.month_spent_usd > 0
    store.write("budgets.json", BudgetsRecord(timezone="Europe/Berlim").as_bytes())
    found = history(store, NOW)
    assert (found.zone_name, found.zone) == ("UTC", UTC)
    assert "Europe/Berlim" in found.faults[0]


def test_two_schedules_have_nights_of_their_own(store: LocalFolder) -> None:
    """Of the same date too."""
    put_night(store, "weekly", 13, "missed")
    found = history(store, NOW)
    assert sorted(each.schedule for each in found.nights if each.date == "2026-11-29") == ["llama-nightly", "weekly"]
    assert datetime.fromtimestamp(found.nights[0].due, UTC).date().isoformat() == "2026-11-29"
