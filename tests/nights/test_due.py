"""Which night a moment belongs to, until when it may begin, and which ones nobody has begun."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from cloudtrain.nights import due
from cloudtrain.records import ScheduleRecord

HOUR = 3600.0


def made(**changes: Any) -> ScheduleRecord:
    """A schedule of 01:17 in Berlin that is made in January."""
    usual: dict[str, Any] = {
        "name": "nightly", "spec": "cloudtrain.yaml", "at": "01:17", "timezone": "Europe/Berlin", "latest_s": 6 * HOUR,
        "made": datetime(2026, 1, 1, tzinfo=UTC).timestamp(),
    }  # fmt: skip
    return ScheduleRecord(**{**usual, **changes})


def instant(*parts: int) -> float:
    """In UTC."""
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def test_a_night_is_a_local_date_with_an_end() -> None:
    """In winter Berlin is an hour ahead."""
    night = due.tonight(made(), instant(2026, 2, 3, 0, 17))
    assert (night.date, night.due, night.clock) == (
        "2026-02-03",
        instant(2026, 2, 3, 0, 17),
        "2026-02-03 07:17 Europe/Berlin",
    )
    assert (night.is_over(night.ends), night.is_over(night.ends + 1)) == (False, True)
    assert due.tonight(made(), instant(2026, 2, 3, 0, 16)).date == "2026-02-02"


def test_a_night_is_over_when_the_next_is_due() -> None:
    """However late it may begin."""
    assert due.night(made(latest_s=48 * HOUR), date(2026, 2, 3)).ends == instant(2026, 2, 4, 0, 17)


@pytest.mark.parametrize(
    ("zone", "at", "day", "begins"),
    [
        ("Europe/Berlin", "02:17", date(2026, 3, 29), (2026, 3, 29, 1, 0)),  # skipped: the moment after the gap
        ("Europe/Berlin", "02:17", date(2026, 10, 25), (2026, 10, 25, 0, 17)),  # twice: the first
        ("Australia/Lord_Howe", "02:17", date(2026, 10, 4), (2026, 10, 3, 15, 30)),  # half an hour is skipped
        ("Australia/Lord_Howe", "01:45", date(2026, 4, 5), (2026, 4, 4, 14, 45)),
    ],
)
def test_every_date_has_one_night_where_clocks_change(zone: str, at: str, day: date, begins: tuple[int, ...]) -> None:
    """Both ways, by an hour and by half of one: the second of two equal local times begins nothing."""
    schedule = made(timezone=zone, at=at)
    night = due.night(schedule, day)
    assert night.due == instant(*begins)
    seen = {due.tonight(schedule, night.due + minutes * 60).date for minutes in range(23 * 60)}
    assert seen == {day.isoformat()}


def test_nights_without_a_record_are_told_since_the_beginning() -> None:
    """Not further than a month, and none from before the schedule."""
    schedule = made(made=instant(2026, 2, 1, 12))
    last = due.tonight(schedule, instant(2026, 2, 5, 12))
    assert [night.date for night in due.unbegun(schedule, ["2026-02-03"], last)] == ["2026-02-02", "2026-02-04"]
    assert len(due.unbegun(made(), [], due.tonight(made(), instant(2026, 6, 1)))) == due.MOST_MISSED
