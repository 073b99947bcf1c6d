"""When weeks and months begin: by the calendar of a zone, without gaps, whatever its clocks do."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.runs.spending import windows
from cloudtrain.settings import zones

ZONES = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Kiritimati", "Asia/Kathmandu"]


@given(st.floats(0, 4e9), st.sampled_from(ZONES))
def test_every_instant_is_in_one_week_and_one_month(now: float, name: str) -> None:
    """From a Monday's, or a first's, first moment to the next one's."""
    where = zones.zone(name)
    for of in (windows.week, windows.month):
        span = of(now, where)
        assert span.since <= now < span.until
        assert of(span.since, where) == of(span.until - 1, where) == span
        begins = datetime.fromtimestamp(span.since, where)
        assert begins.weekday() == 0 if of is windows.week else begins.day == 1
        before = datetime.fromtimestamp(span.since - 1, where)
        assert before.date() < begins.date()


def test_a_month_begins_at_local_midnight() -> None:
    """23:30 in London is the next month in Berlin."""
    moment = datetime(2026, 11, 30, 23, 30, tzinfo=ZoneInfo("UTC")).timestamp()
    assert windows.month(moment, zones.zone("Europe/Berlin")).since == moment - 1800
    assert windows.month(moment, zones.zone("UTC")).until == moment + 1800
