"""The days between which a price was seen."""

from __future__ import annotations

from datetime import date

import pytest
from cloudtrain.pricing._observed import first_day, last_day
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("observed", "first", "last"),
    [
        ("2026-07-30", "2026-07-30", "2026-07-30"),
        ("2026-07", "2026-07-01", "2026-07-31"),
        ("2026-02", "2026-02-01", "2026-02-28"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026-12", "2026-12-01", "2026-12-31"),
        ("2026-06..08", "2026-06-01", "2026-08-31"),
        ("2026-07-01..15", "2026-07-01", "2026-07-15"),
        ("2026", "2026-01-01", "2026-01-01"),
        ("2026 (after Feb)", "2026-02-28", "2026-02-28"),
        ("2025 (after Dec)", "2025-12-31", "2025-12-31"),
    ],
)
def test_a_date_is_read_cautiously(observed: str, first: str, last: str) -> None:
    """A closed range has a first and a last day, an open one counts from its earliest."""
    assert (first_day(observed), last_day(observed)) == (first, last)


@pytest.mark.parametrize(
    "observed", ["", "yesterday", "2026-13", "2026-02-30", "26-07-30", "2026-06..13", "2026 (after Foo)", "2026-07-30x"]
)
def test_no_date_is_an_error(observed: str) -> None:
    """What is no date is refused instead of taken for today."""
    with pytest.raises(ValueError, match=r"\S"):
        first_day(observed)


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2998, 12, 31)))
def test_a_month_ends_before_the_next_begins(day: date) -> None:
    """A month's last day is in the month, and every day of it is at most that."""
    last = date.fromisoformat(last_day(f"{day:%Y-%m}"))
    assert (last.year, last.month) == (day.year, day.month)
    assert day <= last < date(day.year + day.month // 12, day.month % 12 + 1, 1)
    assert last_day(day.isoformat()) == day.isoformat()
