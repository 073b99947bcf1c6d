"""Reads when a price was seen: the last and the first day that a snapshot's `observed` cell allows."""

from __future__ import annotations

import re
from datetime import date, timedelta

_RANGE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?(?:\.\.(\d\d))?")
_AFTER = re.compile(r"(\d{4}) \(after ([A-Z][a-z]{2})\)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def last_day(observed: str) -> str:
    """The day (YYYY-MM-DD) from which `up` counts whether a price is stale.

    A day is itself, a month (`2026-07`) its last day, a range of months (`2026-06..08`) the last day of the later one.
    Where only an open range is known the earliest possible day is taken, so that such a price is not called younger
    than it is: a bare year (`2026`) is its first of January, `2026 (after Feb)` is the end of February. Raises
    ValueError.
    """
    after = _AFTER.fullmatch(observed)
    if after:
        return _end_of_month(int(after[1]), _MONTHS.index(after[2]) + 1)
    found = _RANGE.fullmatch(observed)
    if not found:
        raise ValueError(f"`{observed}` is no date: write 2026-07-30, 2026-07, 2026-06..08, 2026 or 2026 (after Feb)")
    year, month, day, until = found.groups()
    if not month:
        return date(int(year), 1, 1).isoformat()
    if day:
        return date(int(year), int(month), int(until or day)).isoformat()
    return _end_of_month(int(year), int(until or month))


def first_day(observed: str) -> str:
    """The earliest day (YYYY-MM-DD) on which the price may have been seen: it is not printed as younger than that.

    A day is itself, a month or a range begins with its first day, an open range counts as in `last_day`. Raises
    ValueError.
    """
    last = last_day(observed)
    found = _RANGE.fullmatch(observed)
    if not found or not found[2]:
        return last
    return date(int(found[1]), int(found[2]), int(found[3] or 1)).isoformat()


def _end_of_month(year: int, month: int) -> str:
    some_day_of_the_next = date(year, month, 28) + timedelta(days=4)
    return (some_day_of_the_next - timedelta(days=some_day_of_the_next.day)).isoformat()
