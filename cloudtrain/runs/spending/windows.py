"""When a week and a month begin, by the calendar of a time zone."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import date
    from zoneinfo import ZoneInfo


class Span(NamedTuple):
    """From the first second (epoch) to the one in which the next one begins."""

    since: float
    until: float


def week(now: float, where: ZoneInfo) -> Span:
    """The week that this instant is in; it begins on Monday."""
    today = datetime.fromtimestamp(now, where).date()
    monday = today - timedelta(days=today.weekday())
    return Span(_midnight(monday, where), _midnight(monday + timedelta(days=7), where))


def month(now: float, where: ZoneInfo) -> Span:
    """The month that this instant is in."""
    first = datetime.fromtimestamp(now, where).date().replace(day=1)
    return Span(_midnight(first, where), _midnight((first + timedelta(days=32)).replace(day=1), where))


def _midnight(day: date, where: ZoneInfo) -> float:
    """The first second of a local day; where clocks are put forward at midnight, that is when they are."""
    return datetime.combine(day, time.min, where).timestamp()
