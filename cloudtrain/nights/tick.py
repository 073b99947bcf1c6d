"""One tick of a schedule: look after living runs, begin tonight's if it is due, sweep, and say what was done.

It never waits for training, and it may be killed anywhere: all it knows is in the state, and the next one goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from cloudtrain import settings as settings_module
from cloudtrain.errors import UsageError
from cloudtrain.nights import book, calendar, due, living, owner, results
from cloudtrain.nights.begin import Beginner
from cloudtrain.nights.options import TickOptions
from cloudtrain.nights.outcome import Outcome, Tick
from cloudtrain.runs.client.machinery import Machinery, RealClouds
from cloudtrain.runs.events import Emit, ignore
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import open_store

if TYPE_CHECKING:
    from cloudtrain.records import NightRecord
    from cloudtrain.settings import Settings

# Of several things that one tick did, the first of these is its word.
PRECEDENCE: Final[tuple[Outcome, ...]] = (
    "leak",
    "failed",
    "missed",
    "skipped: budget",
    "started",
    "finished",
    "unchanged",
    "going on",
    "not due",
)


class Ticked(NamedTuple):
    """What a tick did: its word, everything that happened in order, notes, and the newest nights, oldest first."""

    tick: Tick
    events: list[Tick]
    notes: list[str]
    nights: list[NightRecord]


def tick(
    options: TickOptions,
    settings: Settings,
    environment: Mapping[str, str],
    emit: Emit = ignore,
    machinery: Machinery | None = None,
    now: float | None = None,
) -> Ticked:
    """Do what is due at `now` (epoch seconds; None: at this moment).

    Raises UsageError for a wrong hour, zone or name, for a fork, and for a state that vanishes. What happens to a run
    is an outcome, not an error; a state that cannot be reached is one.
    """
    book.checked_name(options.name)
    calendar.zone(options.timezone), calendar.parse_at(options.at)
    if not options.spec.is_file():
        raise UsageError(f"there is no spec `{options.spec}`", "name the file, as it lies in the repository")
    owner.refuse_lost_state(settings, environment)
    store, began = open_store(settings.state), time.monotonic()
    now = settings_module.now() if now is None else now
    owner.claimed(store, options, environment, now)
    try:
        with store.hold(book.key(options.name, "tick.lock")):
            events, notes = work(store, options, settings, emit, machinery or RealClouds(), now)
            nights, _ = newest(store, options.name)
            events = [*left_untold(store, options.name, nights, events), *events]
            word = summed_up(events, options.name)
            book.write_tick(store, word, now, round(time.monotonic() - began, 3))
    except AlreadyThere as other:
        word = Tick("going on", options.name, message=f"another tick is at it: {other.message}")
        events, notes = [word], []
        nights, _ = newest(store, options.name)
    return Ticked(word, events, notes, nights)


def newest(store: Store, name: str) -> tuple[list[NightRecord], list[str]]:
    """The newest nights, oldest first, and what cannot be read of them."""
    return book.nights(store, name, book.dates(store, name)[-book.NEWEST :])


def left_untold(store: Store, name: str, nights: list[NightRecord], events: list[Tick]) -> list[Tick]:
    """What an earlier tick wrote down and did not live to tell."""
    new = {(each.date, each.outcome) for each in events}
    found = [each for each in book.untold(store, name, nights) if (each.date, each.outcome) not in new]
    return [Tick(each.outcome, name, each.date, each.run, each.message) for each in found]  # type: ignore[arg-type]


def work(
    store: Store, options: TickOptions, settings: Settings, emit: Emit, machinery: Machinery, now: float
) -> tuple[list[Tick], list[str]]:
    """What happened, in order, and notes about it. The caller holds the schedule's lease."""
    name = options.name
    looked = living.look_after(store, emit)
    events = [Tick("leak", name, message=leak) for leak in looked.leaks]
    notes = list(looked.done)
    try:
        events += nights_of(Beginner(store, options, settings, emit, machinery, now), notes)
    finally:
        swept = living.sweep_up(emit)  # whatever went wrong before: this is what ends what costs money
    notes += swept.done
    return [*events, *(Tick("leak", name, message=leak) for leak in swept.leaks)], notes


def nights_of(beginner: Beginner, notes: list[str]) -> list[Tick]:
    """Settle the nights whose runs have ended, and begin tonight's."""
    store, options, now = beginner.store, beginner.options, beginner.now
    schedule = book.schedule(store, options.name)
    if schedule is None:
        raise UsageError(f"the record of schedule `{options.name}` has just been removed", "repeat the command")
    known = book.dates(store, options.name)
    nights, damaged = book.nights(store, options.name, known[-book.NEWEST :])
    notes += damaged
    settled = results.settle(store, options.name, nights, notes)
    last = due.tonight(schedule, now)
    events = [*settled.ticks, *beginner.missed(due.unbegun(schedule, known, last))]
    events += [
        tick
        for night in settled.nights
        if night.outcome == "" and night.date < last.date and night not in settled.going
        if (tick := beginner.miss(due.night(schedule, date.fromisoformat(night.date)), beginner.why(night), night))
    ]
    if last.date in known and not any(each.date == last.date for each in nights):
        return events  # its record is damaged: nobody can say whether it was begun
    if last.date not in known and last.is_over(now) and last.due < schedule.made:
        return events  # over before there was a schedule
    tonight = beginner.tonight(last, settled.nights, settled.going)
    return events if tonight is None else [*events, tonight]


def summed_up(events: list[Tick], schedule: str) -> Tick:
    """One word for all of it; what else happened stands in the message."""
    if not events:
        return Tick("not due", schedule, message="nothing to do")
    first = min(events, key=lambda each: PRECEDENCE.index(each.outcome))
    others = [
        f"{each.outcome}{f' ({each.date})' if each.date else ''}: {each.message}"
        for each in events
        if each is not first
    ]
    return first._replace(message="; ".join([first.message, *others]))
