"""Nights by local time: one instant a date, in zones that change their clocks by an hour, by half of one, at midnight, or never."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.nights import calendar

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
# Half an hour of summer time; changes at midnight; a day that was left out; winter time that is put back; none at all.
ZONES = (
    BERLIN,
    LORD_HOWE,
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Pacific/Apia",
    "Europe/Dublin",
    "UTC",
    "Asia/Kolkata",
)
zones = st.sampled_from([ZoneInfo(name) for name in ZONES])
days = st.dates(date(2005, 1, 1), date(2035, 12, 31))
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))


def utc(day: date, at: str, name: str) -> str:
    found = calendar.due(day, calendar.parse_at(at), ZoneInfo(name))
    return datetime.fromtimestamp(found, UTC).strftime("%Y-%m-%dT%H:%MZ")


@pytest.mark.parametrize(
    ("name", "day", "at", "instant"),
    [
        (BERLIN, date(2026, 11, 30), "01:17", "2026-11-30T00:17Z"),
        (BERLIN, date(2027, 3, 28), "01:59", "2027-03-28T00:59Z"),
        (BERLIN, date(2027, 3, 28), "02:00", "2027-03-28T01:00Z"),
        (BERLIN, date(2027, 3, 28), "02:17", "2027-03-28T01:00Z"),
        (BERLIN, date(2027, 3, 28), "03:00", "2027-03-28T01:00Z"),
        (BERLIN, date(2027, 3, 28), "03:17", "2027-03-28T01:17Z"),
        (BERLIN, date(2027, 10, 31), "02:17", "2027-10-31T00:17Z"),
        (BERLIN, date(2027, 10, 31), "03:17", "2027-10-31T02:17Z"),
        (LORD_HOWE, date(2027, 10, 3), "02:17", "2027-10-02T15:30Z"),
        (LORD_HOWE, date(2027, 10, 3), "02:30", "2027-10-02T15:30Z"),
        (LORD_HOWE, date(2027, 10, 3), "02:31", "2027-10-02T15:31Z"),
        (LORD_HOWE, date(2027, 4, 4), "01:47", "2027-04-03T14:47Z"),
        (LORD_HOWE, date(2027, 4, 4), "02:17", "2027-04-03T15:47Z"),
    ],
)
def test_due_instants_where_clocks_change(name: str, day: date, at: str, instant: str) -> None:
    assert utc(day, at, name) == instant


@given(zones, days, times)
@example(ZoneInfo("Pacific/Apia"), date(2011, 12, 30), time(0, 0))
def test_a_time_that_exists_is_due_then_and_not_twice(zone: ZoneInfo, day: date, at: time) -> None:
    found = datetime.fromtimestamp(calendar.due(day, at, zone), zone)
    wanted = datetime.combine(day, at)
    if found.replace(tzinfo=None, fold=0) == wanted:
        assert found.fold == 0
    else:  # left out by the clocks: the first moment after the gap, which is a jump over the wanted time
        before = found.astimezone(UTC) - timedelta(seconds=1)
        assert before.astimezone(zone).replace(tzinfo=None) < wanted < found.replace(tzinfo=None)


@given(zones, days, times)
def test_the_next_date_is_due_later(zone: ZoneInfo, day: date, at: time) -> None:
    step = calendar.due(day + timedelta(days=1), at, zone) - calendar.due(day, at, zone)
    if zone.key != "Pacific/Apia":  # which had no 30 December 2011
        assert 22 * 3600 < step < 26 * 3600
    assert step >= 0


@given(zones, days, times, st.floats(0, 86400 - 1))
def test_a_moment_belongs_to_the_latest_night_due(zone: ZoneInfo, day: date, at: time, later: float) -> None:
    now = calendar.due(day, at, zone) + later
    night = calendar.night_of(now, at, zone)
    assert calendar.due(night, at, zone) <= now < calendar.due(night + timedelta(days=1), at, zone)


@given(zones, times, st.floats(1.1e9, 2e9), st.floats(0, 4e5))
def test_nights_never_go_back(zone: ZoneInfo, at: time, now: float, later: float) -> None:
    assert calendar.night_of(now, at, zone) <= calendar.night_of(now + later, at, zone)


@pytest.mark.parametrize("name", [BERLIN, LORD_HOWE])
def test_every_date_of_a_year_is_some_moments_night(name: str) -> None:
    zone, at = ZoneInfo(name), time(2, 17)
    begin = calendar.due(date(2027, 1, 1), at, zone)
    seen = [calendar.night_of(begin + minutes * 60, at, zone) for minutes in range(0, 365 * 24 * 60, 20)]
    assert sorted(set(seen)) == [date(2027, 1, 1) + timedelta(days=n) for n in range(365)]
    assert seen == sorted(seen)


def test_hours_that_are_skipped_or_doubled_are_told() -> None:
    around = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    told = calendar.oddity(time(2, 17), ZoneInfo(BERLIN), around)
    assert told == (
        "02:17 does not exist on 2027-03-28 (that night is due at 03:00) and exists twice on 2027-10-31"
        " (the night is due at the first) in Europe/Berlin"
    )
    told = calendar.oddity(time(1, 47), ZoneInfo(LORD_HOWE), around)
    assert told == "01:47 exists twice on 2027-04-04 (the night is due at the first) in Australia/Lord_Howe"
    assert "2027-10-03 (that night is due at 02:30)" in calendar.oddity(time(2, 17), ZoneInfo(LORD_HOWE), around)


@pytest.mark.parametrize(("at", "name"), [(time(1, 17), BERLIN), (time(3, 0), BERLIN), (time(2, 17), "UTC")])
def test_ordinary_hours_are_told_nothing_of(at: time, name: str) -> None:
    assert calendar.oddity(at, ZoneInfo(name), 1.8e9) == ""


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berlni", "Europe/Berlin"),
        ("new york", "America/New_York"),
    ],
)
def test_unknown_zone_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UsageError) as caught:
        calendar.zone(name)
    assert name in caught.value.message
    assert caught.value.hint == f"the nearest is {nearest}"


@pytest.mark.parametrize(
    "name", ["", "Europe", "../etc/passwd", "/etc/localtime", "localtime", "right/UTC", "a\0b", "\n"]
)
def test_what_is_no_place_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        calendar.zone(name)


@pytest.mark.parametrize("text", ["1:17", "24:00", "01:60", "0117", "01:17 ", "01:17:00", "", "٠١:١٧", "01:17\n"])
def test_only_hours_and_minutes_are_a_time(text: str) -> None:
    with pytest.raises(UsageError, match="no time of day"):
        calendar.parse_at(text)


def test_zones_and_times_are_read() -> None:
    assert calendar.zone(BERLIN).key == BERLIN
    assert calendar.parse_at("23:59") == time(23, 59)
