"""The records of a schedule in the state: where they lie, its nights, its ticks."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

from cloudtrain.errors import DamagedRecord, UsageError, visible
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.nights.outcome import Tick
    from cloudtrain.records import NightRecord, ScheduleRecord, TickRecord

SCHEDULES: Final = "nights"
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}", re.ASCII)
NIGHT: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})\.json", re.ASCII)
NEWEST: Final = 30  # nights that a tick looks at and a summary shows
DECIDED: Final = frozenset({"finished", "failed", "unchanged", "missed", "skipped: budget"})  # a night is over
QUIET: Final = frozenset({"not due", "going on"})  # ticks that leave no line


def key(schedule: str, name: str) -> str:
    """The state key of one of a schedule's documents."""
    return f"{SCHEDULES}/{schedule}/{name}"


def checked_name(text: str) -> str:
    """A schedule's name. Raises UsageError for what could be none: it names keys, runs and files."""
    if NAME.fullmatch(text):
        return text
    raise UsageError(
        f"`{visible(text)}` is no name of a schedule",
        "use small letters, digits, dots, dashes and underscores, 60 at most, with a letter or digit first",
    )


def run_name(schedule: str, day: str, number: int = 1) -> str:
    """What a night's run is called: whoever begins that night comes to the same name, so there is one of it."""
    return f"{schedule}-{day}" + (f"-{number}" if number > 1 else "")


def schedules(store: Store) -> list[str]:
    """The names of the schedules that have ticked in this state."""
    return [name for name in store.children(SCHEDULES) if NAME.fullmatch(name)]


def schedule(store: Store, name: str) -> ScheduleRecord | None:
    """A schedule's record, or None before its first tick. Raises DamagedRecord."""
    from cloudtrain.records import ScheduleRecord

    return read_record(store, key(name, "schedule.json"), ScheduleRecord)


def dates(store: Store, name: str) -> list[str]:
    """The local dates of which something is known, oldest first."""
    found = (NIGHT.fullmatch(child) for child in store.children(key(name, "nights")))
    return sorted(match[1] for match in found if match and is_date(match[1]))


def is_date(text: str) -> bool:
    """Whether it names a day of the calendar."""
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def night(store: Store, name: str, day: str) -> NightRecord | None:
    """The record of a date, or None. Raises DamagedRecord."""
    from cloudtrain.records import NightRecord

    return read_record(store, key(name, f"nights/{day}.json"), NightRecord)


def nights(store: Store, name: str, days: list[str]) -> tuple[list[NightRecord], list[str]]:
    """The records of these dates, in their order; and a sentence about each that cannot be read."""
    found, damaged = [], []
    for day in days:
        try:
            record = night(store, name, day)
        except DamagedRecord as error:
            damaged.append(error.message)
            continue
        if record is not None:
            found.append(record)
    return found, damaged


def create_night(store: Store, name: str, record: NightRecord) -> bool:
    """Write a date that nobody has written; whether it was so. This decides who begins a night."""
    try:
        store.create(key(name, f"nights/{record.date}.json"), record.as_bytes())
    except AlreadyThere:
        return False
    return True


def write_night(store: Store, name: str, record: NightRecord) -> NightRecord:
    """Replace a date's record."""
    write_record(store, key(name, f"nights/{record.date}.json"), record)
    return record


def last_tick(store: Store, name: str) -> TickRecord | None:
    """The newest tick, whatever it did. Raises DamagedRecord."""
    from cloudtrain.records import TickRecord

    return read_record(store, key(name, "last.json"), TickRecord)


def untold(store: Store, name: str, nights: Sequence[NightRecord]) -> list[NightRecord]:
    """Those of the nights that are over and were not told of: by this tick, or because another one died."""
    from cloudtrain.records import ToldRecord

    told = read_record(store, key(name, "told.json"), ToldRecord) or ToldRecord()
    return [each for each in nights if each.outcome in DECIDED and told.nights.get(each.date) != each.outcome]


def write_told(store: Store, name: str, nights: Sequence[NightRecord]) -> None:
    """Every one of the nights that is over was told."""
    from cloudtrain.records import ToldRecord

    known = {each.date: each.outcome for each in nights if each.outcome in DECIDED}
    write_record(store, key(name, "told.json"), ToldRecord(nights=known))


def write_tick(store: Store, tick: Tick, time: float, took_s: float) -> None:
    """Keep what a tick did: the newest in a document of its own, and a line for each that did something.

    Most ticks find nothing to do: their lines, an object each in a bucket, would be thousands a year.
    """
    from cloudtrain.records import TickRecord

    record = TickRecord(
        time=time, outcome=tick.outcome, date=tick.date, run=tick.run, message=tick.message[:2000], took_s=took_s
    )
    if tick.outcome not in QUIET:
        store.append(key(tick.schedule, "ticks.jsonl"), record.as_line())
    write_record(store, key(tick.schedule, "last.json"), record)
