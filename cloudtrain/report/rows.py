"""Nights and runs in one list: a row for each night, and one for each run that no night began."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

from cloudtrain.report.history import Entry, History, Night
from cloudtrain.units import LAST_INSTANT

Status = Literal["finished", "failed", "missed", "skipped", "unchanged", "open", "cancelled"]
_OF_NIGHT: dict[str, Status] = {
    "failed": "failed",
    "leak": "failed",
    "missed": "missed",
    "skipped: budget": "skipped",
    "unchanged": "unchanged",
    "finished": "finished",
}
_OF_RUN: dict[str, Status] = {
    "finished": "finished",
    "failed": "failed",
    "died": "failed",
    "stopped": "failed",
    "cancelled": "cancelled",
}


class Row(NamedTuple):
    """A night, or a run that none began. `when` is epoch seconds, `date` the local date, `entry` None without a run."""

    when: float
    date: str
    line: str
    outcome: str
    run: str
    message: str
    entry: Entry | None
    is_night: bool


def rows(history: History) -> list[Row]:
    """All of them, newest first."""
    begun = {night.entry.run for night in history.nights if night.entry is not None}
    nights = [_of_night(night) for night in history.nights]
    others = [_of_run(entry, history) for entry in history.entries if entry.run not in begun]
    return sorted([*nights, *others], key=lambda row: row.when, reverse=True)


def status_of(row: Row) -> Status:
    """What became of it, as one of a few kinds: what failed at night has failed, whatever its run says."""
    if row.is_night and _OF_NIGHT.get(row.outcome) == "failed":
        return "failed"
    if row.entry is not None:
        return _OF_RUN.get(row.entry.state, "open")
    return _OF_NIGHT.get(row.outcome, "open")


def _of_night(night: Night) -> Row:
    outcome = night.outcome or "begun"
    if night.entry is not None and outcome in ("begun", "started", "going on"):
        outcome = night.entry.state
    return Row(night.due, night.date, night.schedule, outcome, night.run, night.message, night.entry, True)


def _of_run(entry: Entry, history: History) -> Row:
    when = entry.started or 0.0
    date = datetime.fromtimestamp(when, history.zone).date().isoformat() if abs(when) < LAST_INSTANT else "no date"
    return Row(when, date, entry.line, entry.state, entry.run, "", entry, False)
