"""Which night a moment belongs to, until when it may begin, and which earlier ones nobody has begun."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from cloudtrain.nights import calendar

if TYPE_CHECKING:
    from cloudtrain.records import ScheduleRecord

MOST_MISSED: Final = 30  # nights of which a tick says after a long silence that nobody began them


class Night(NamedTuple):
    """A local date: when it is due, and after when it is too late to begin it (epoch seconds)."""

    date: str
    due: float
    ends: float
    clock: str  # `ends` on the schedule's own clock, for a person

    def is_over(self, now: float) -> bool:
        """Whether it is too late to begin it."""
        return now > self.ends


def night(schedule: ScheduleRecord, day: date) -> Night:
    """The night of a local date. One that is not begun before the next is due is over."""
    zone, at = calendar.zone(schedule.timezone), calendar.parse_at(schedule.at)
    begins = calendar.due(day, at, zone)
    ends = min(begins + schedule.latest_s, calendar.due(day + timedelta(days=1), at, zone))
    return Night(day.isoformat(), begins, ends, clock(ends, zone))


def clock(instant: float, zone: ZoneInfo) -> str:
    """An instant as its zone's clocks show it."""
    return f"{datetime.fromtimestamp(instant, zone):%Y-%m-%d %H:%M} {zone.key}"


def tonight(schedule: ScheduleRecord, now: float) -> Night:
    """The latest night that is due."""
    zone, at = calendar.zone(schedule.timezone), calendar.parse_at(schedule.at)
    return night(schedule, calendar.night_of(now, at, zone))


def unbegun(schedule: ScheduleRecord, known: list[str], last: Night) -> list[Night]:
    """Earlier nights of the schedule of which there is no record, oldest first: nobody came in time.

    Nights that were due before the schedule was made are none of its.
    """
    day = date.fromisoformat(last.date)
    written = set(known)
    found: list[Night] = []
    for _ in range(MOST_MISSED):
        day -= timedelta(days=1)
        before = night(schedule, day)
        if before.due < schedule.made:
            break
        if before.date not in written:
            found.append(before)
    return found[::-1]
