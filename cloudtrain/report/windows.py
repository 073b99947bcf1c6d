"""Weeks and months in a time zone: which one an instant lies in, and the ones before it. Weeks begin on Monday."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal

from cloudtrain.units import LAST_INSTANT

Window = Literal["week", "month"]
WINDOWS: Final[tuple[Window, ...]] = ("week", "month")
NO_WINDOW = "no date"  # of an instant that no calendar has


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name, which is one."""
    from zoneinfo import ZoneInfo

    return UTC if name == "UTC" else ZoneInfo(name)


def begins(window: Window, epoch: float | None, zone: tzinfo) -> date | None:
    """The first day of the week or month in which an instant lies; None for one that no calendar has."""
    if epoch is None or not abs(epoch) < LAST_INSTANT:
        return None
    day = datetime.fromtimestamp(epoch, zone).date()
    return day - timedelta(days=day.weekday()) if window == "week" else day.replace(day=1)


def before(window: Window, first: date) -> date | None:
    """The first day of the week or month before the one that begins on `first`; None before all calendars."""
    if first.toordinal() <= 31:
        return None
    return first - timedelta(days=7) if window == "week" else (first - timedelta(days=1)).replace(day=1)


def title(window: Window, first: date | None) -> str:
    """`2026-11-30` for a week (its Monday), `2026-11` for a month."""
    return NO_WINDOW if first is None else first.isoformat() if window == "week" else f"{first:%Y-%m}"
