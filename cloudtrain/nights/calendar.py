"""When a night is due and which night a moment belongs to, by local time, also where clocks go forward or back."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cloudtrain.errors import UsageError, visible
from cloudtrain.settings import zones

TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
DAY: Final = timedelta(days=1)
YEAR_DAYS: Final = 366

zone = zones.zone  # by its name


def parse_at(text: str) -> time:
    """A time of day from `HH:MM`. Raises UsageError."""
    found = TIME_OF_DAY.fullmatch(text)
    if found is None:
        raise UsageError(f"`{visible(text)}` is no time of day", "write it as HH:MM, from 00:00 to 23:59")
    return time(int(found[1]), int(found[2]))


def due(day: date, at: time, zone: ZoneInfo) -> float:
    """The instant (epoch seconds) at which the night of a local date is due: every date has exactly one.

    Where clocks skip that time it is the first moment after the gap; where it is twice, the first.
    """
    before, after = both_readings(day, at, zone)
    if before <= after:
        return before
    # In a gap the two readings lie on either side of the change: halve until the second at which the offset jumps.
    low, high = int(after), int(before)
    old = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return float(high)


def both_readings(day: date, at: time, zone: ZoneInfo) -> tuple[float, float]:
    """The instant of a local time by the offset before and by the one after a change.

    They are equal on an ordinary day; the first is the later one in a gap, the earlier one where the time is twice.
    """
    local = datetime.combine(day, at, tzinfo=zone)
    return local.timestamp(), local.replace(fold=1).timestamp()


def night_of(now: float, at: time, zone: ZoneInfo) -> date:
    """The latest local date whose night is due at `now` (epoch seconds) or was before."""
    day = datetime.fromtimestamp(now, zone).date() + DAY
    while due(day, at, zone) > now:
        day -= DAY
    return day


def oddity(at: time, zone: ZoneInfo, around: float) -> str:
    """A sentence when that time does not exist, or exists twice, on a day of the year from `around` on; else ""."""
    first = datetime.fromtimestamp(around, zone).date()
    skipped = doubled = ""
    for number in range(YEAR_DAYS):
        day = first + number * DAY
        before, after = both_readings(day, at, zone)
        if before > after and not skipped:
            begins = datetime.fromtimestamp(due(day, at, zone), zone)
            skipped = f"does not exist on {day} (that night is due at {begins:%H:%M})"
        elif before < after and not doubled:
            doubled = f"exists twice on {day} (the night is due at the first)"
    odd = " and ".join(part for part in (skipped, doubled) if part)
    return f"{at:%H:%M} {odd} in {zone.key}" if odd else ""
