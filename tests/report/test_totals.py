"""Sums of a report: equal to those of its JSON, by calendar and provider, an unknown counted and never added."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.report import windows
from cloudtrain.report.totals import BY, by, total
from tests.report.histories import account, costing, history, year

MONEY = st.one_of(st.none(), st.decimals(0, 10**6, places=9))


def added(texts: list[str | None]) -> Decimal | None:
    """What a reader of the JSON comes to."""
    known = [Decimal(text) for text in texts if text is not None]
    return sum(known, Decimal(0)) if known or not texts else None


@given(st.lists(st.tuples(MONEY, MONEY), max_size=8))
def test_sums_equal_those_of_the_json_to_the_last_place(amounts: list[tuple[Decimal | None, Decimal | None]]) -> None:
    """Of amounts with more places than are printed, where adding first would round otherwise."""
    accounts = [
        account(f"r-{number}", machines=costing(None if metered is None else f"{metered:f}"), billed_usd=billed)
        for number, (metered, billed) in enumerate(amounts)
    ]
    found, documents = history(accounts), [each.document() for each in accounts]
    every = total(found.entries)
    assert every.metered.usd == added([each["metered_usd"] for each in documents])
    assert every.billed.usd == added([each["billed_usd"] for each in documents])
    assert every.quoted.usd == added([each["quoted_usd"]["likely"] for each in documents])
    assert every.metered.unknown == sum(each["metered_usd"] is None for each in documents)


@pytest.mark.parametrize("what", BY)
def test_groups_add_up_to_the_total(what: str) -> None:
    """Whatever they are grouped by."""
    found = year(90)
    groups, every = by(found, what), total(found.entries)  # type: ignore[arg-type]
    assert sum(each.runs for _, each in groups) == every.runs
    assert sum(each.metered.usd or 0 for _, each in groups) == every.metered.usd
    assert sum(each.metered.unknown for _, each in groups) == every.metered.unknown > 0


def test_only_unknown_amounts_have_no_sum() -> None:
    """It would be a zero that nobody has paid."""
    assert total(history([account("a", machines=costing(None))]).entries).metered == (None, 1)
    assert total(()).metered == (Decimal(0), 0)


def test_ratios_are_of_finished_runs_and_final_bills() -> None:
    """A run that was cut off is cheap for another reason; a bill that grows is no bill."""
    every = total(
        history(
            [
                account("a", machines=costing("6"), billed_usd=Decimal("6.6"), billed_status="final"),
                account("b", machines=costing("4.5"), billed_usd=Decimal("1"), billed_status="provisional"),
                account("c", machines=costing("7")),
                account("d", machines=costing("1"), state="failed"),
                account("e", machines=costing(None)),
            ]
        ).entries
    )
    assert (every.metered_to_quoted.value, every.metered_to_quoted.n) == (Decimal("17.5") / 15, 3)
    assert every.within == 2
    assert every.billed_to_metered == (Decimal("1.1"), 1)


@pytest.mark.parametrize(
    ("moment", "zone", "monday", "first"),
    [
        ("2026-11-29T23:30:00Z", "UTC", "2026-11-23", "2026-11"),
        ("2026-11-29T23:30:00Z", "Europe/Berlin", "2026-11-30", "2026-11"),
        ("2026-11-30T23:30:00Z", "Europe/Berlin", "2026-11-30", "2026-12"),
        ("2027-01-01T05:00:00Z", "America/New_York", "2026-12-28", "2027-01"),
        ("2026-10-25T00:30:00Z", "Europe/Berlin", "2026-10-19", "2026-10"),
        ("2026-10-03T15:40:00Z", "Australia/Lord_Howe", "2026-09-28", "2026-10"),
    ],
)
def test_weeks_and_months_begin_in_the_time_zone(moment: str, zone: str, monday: str, first: str) -> None:
    """Also around the days on which clocks are changed."""
    epoch = datetime.fromisoformat(moment).timestamp()
    where = ZoneInfo(zone)
    assert windows.title("week", windows.begins("week", epoch, where)) == monday
    assert windows.title("month", windows.begins("month", epoch, where)) == first


@given(st.dates(date(1970, 1, 12), date(2400, 1, 1)), st.sampled_from(windows.WINDOWS))
def test_the_period_before_ends_where_the_next_begins(day: date, window: windows.Window) -> None:
    """So that no day is in two of them, or in none."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()
    first = windows.begins(window, noon, UTC)
    assert first is not None
    earlier = windows.before(window, first)
    eve = datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp() - 1
    assert windows.begins(window, eve, UTC) == earlier


def test_a_run_of_no_date_is_summed_all_the_same() -> None:
    """A clock that was wrong by millennia, and a run of which nobody knows when it began."""
    found = history([account("a", started_at=1e14), account("b", started_at=None), account("c")])
    assert [key for key, _ in by(found, "week")] == ["no date", "2026-11-23"]
