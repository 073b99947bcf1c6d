"""The limits of a state: set, kept, tightened, and never "none" because a document is broken."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.records import BudgetsRecord
from cloudtrain.runs.spending import budget
from cloudtrain.state.store import LocalFolder


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(tmp_path)


def test_a_limit_that_is_not_named_stays(store: LocalFolder) -> None:
    """None takes one away."""
    budget.change(store, month_usd=Decimal(150), week_usd=Decimal(40))
    budget.change(store, week_usd=None, timezone="Europe/Berlin")
    kept = budget.read(store)
    assert kept is not None
    assert (kept.run_usd, kept.week_usd, kept.month_usd) == (None, None, 150)
    assert kept.timezone == "Europe/Berlin"
    assert budget.is_limited(kept)
    assert not budget.is_limited(budget.change(store, month_usd=None))


def test_without_a_document_there_is_no_limit(store: LocalFolder) -> None:
    """None of them."""
    assert budget.read(store) is None
    assert not budget.is_limited(budget.in_force(store, None))


@pytest.mark.parametrize(
    "broken",
    [b"", b"null", b"[]", b"{", b'{"month_usd": "lots"}', b'{"month_usd": NaN}', b'{"version": 2}', b'{"month": 150}',
     b'{"month_usd": 150, "day_usd": 5}', b'{"timezone": "Mars/Base"}', b'{"timezone": 5}', b"\xff\xfe"],
)  # fmt: skip
def test_a_broken_document_is_an_error_and_never_no_limit(store: LocalFolder, broken: bytes) -> None:
    """Exit 2 with its name; a limit that we do not know is one that we cannot keep."""
    store.write(budget.KEY, broken)
    for use in (budget.read, lambda store: budget.in_force(store, Decimal(1)), budget.change):
        with pytest.raises(UsageError, match=r"budgets\.json") as told:
            use(store)
        assert told.value.exit_code == 2
        assert "set the limits again" in told.value.hint
    assert store.read(budget.KEY) == broken


def test_a_wrong_key_names_the_nearest_right_one(store: LocalFolder) -> None:
    """As a person would write it."""
    store.write(budget.KEY, b'{"month": 150}')
    with pytest.raises(UsageError) as told:
        budget.read(store)
    assert "did you mean `month_usd`?" in told.value.hint


def test_amounts_may_be_written_as_numbers(store: LocalFolder) -> None:
    """By hand, in an editor."""
    store.write(budget.KEY, b'{"month_usd": 150, "week_usd": 40.5}')
    assert budget.read(store) == BudgetsRecord(month_usd=Decimal(150), week_usd=Decimal("40.5"))


@pytest.mark.parametrize(("own", "month"), [(None, 150), (100, 100), (200, 150)])
def test_one_starts_own_limit_only_tightens(store: LocalFolder, own: int | None, month: int) -> None:
    """The smaller one holds, and the state's stays as it is."""
    budget.change(store, month_usd=Decimal(150))
    given = None if own is None else Decimal(own)
    assert budget.in_force(store, given).month_usd == month
    kept = budget.read(store)
    assert kept is not None
    assert kept.month_usd == 150
