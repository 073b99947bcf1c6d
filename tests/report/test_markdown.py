"""Summaries for a CI step and for a comment: within what a forge takes, saying what they leave out."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from cloudtrain.report import markdown
from cloudtrain.report.history import history
from cloudtrain.report.totals import total
from cloudtrain.state.store import LocalFolder
from tests.report import histories
from tests.report.histories import account, budget, night, year
from tests.report.states import DAY_S, FIRST, fortnight

TICK = {
    "outcome": "finished",
    "schedule": "llama-nightly",
    "date": "2026-11-29",
    "run": "llama-3.1-8b-qlora-00000d",
    "message": "the adapter is in `out`",
}


def test_a_summary_has_the_newest_thirty_nights_and_says_so() -> None:
    """The older ones are in the sums."""
    found = year(365)
    told = markdown.summary(found)
    assert "335 older nights and runs are left out here; they are in the sums." in told
    assert told.count("`llama-nightly`") + told.count("`weekly-eval`") >= 30
    assert "| `2026-11-30` |" in told
    assert "`2026-10-31` |" not in told
    assert f"**${total(found.entries).metered.usd:,.2f}+?** metered in" in told
    assert "Spent this week: $31.40 of $60.00, and $8.50 may still come at the worst." in told
    assert len(told.encode()) < markdown.SUMMARY_BYTES


@pytest.mark.parametrize("most", [1000, 5000, 7000])
def test_a_summary_never_exceeds_its_bound(most: int) -> None:
    """It is cut after a whole line, and says that it is."""
    told = markdown.summary(year(60), most)
    assert len(told.encode()) <= most
    assert "This is cut: " in told.splitlines()[-1]
    assert all(line.endswith("|") for line in told.splitlines() if line.startswith("|"))


def test_names_of_megabytes_leave_a_summary_within_its_bound() -> None:
    """Run, spec, offer and schedule, each as long as it likes."""
    long = "x€" * 500_000
    found = histories.history(
        [account(f"{number}{long}", offer=long, provider=long, spec=long) for number in range(40)],
        [(long, night("2026-11-29", long, f"{number}{long}", message=long)) for number in range(40)],
        faults=(long,) * 100,
    )
    assert len(markdown.summary(found).encode()) < 200_000


def test_a_night_summary_says_what_the_tick_did(tmp_path: Path) -> None:
    """With its nights, their runs' figures, and their sums."""
    store = LocalFolder(tmp_path)
    fortnight(store)
    nights = [each for each in history_nights(store)]
    told = markdown.night_summary(store, nights=nights, **TICK)
    assert told.startswith(
        "### `llama-nightly`: `finished`\n\nnight of `2026-11-29`, run `llama-3.1-8b-qlora-00000d`\n"
    )
    assert "the adapter is in ˋoutˋ" in told
    assert "| `2026-11-19` | `llama-nightly` | `missed` |" in told
    assert "(n 9)" in told
    assert len(told) <= markdown.COMMENT_CHARACTERS


def history_nights(store: LocalFolder) -> list[object]:
    """The nights as the state has them."""
    from cloudtrain.report.history import nights_of

    return [each for _, each in nights_of(store)[0]]


def test_a_night_summary_fits_a_comment_whatever_it_is_told(tmp_path: Path) -> None:
    """A message, names and nights without end."""
    long = "@octocat | `x` <img src=x> " * 10_000
    nights = [night(f"2026-{month:02}-{day:02}", long, message=long) for month in (9, 10, 11) for day in range(1, 29)]
    told = markdown.night_summary(LocalFolder(tmp_path), nights=nights, **dict.fromkeys(TICK, long))
    assert len(told) <= markdown.COMMENT_CHARACTERS
    kinds = {
        child.type for token in MarkdownIt("commonmark").enable("table").parse(told) for child in token.children or []
    }
    assert kinds <= {"text", "code_inline", "strong_open", "strong_close", "softbreak"}


def test_an_unknown_is_said_in_a_summary() -> None:
    """Runs without a price are counted beside the sum, and are no $0."""
    found = histories.history([account("a", machines=histories.costing(None))], [], budget(unpriced=2))
    told = markdown.summary(found)
    assert "**unknown** metered in 1 run" in told
    assert "Without a price, and in neither of both: 2 runs." in told
    assert "$0.00" not in told


def test_a_state_without_a_run_has_a_summary(tmp_path: Path) -> None:
    """Of nothing."""
    told = markdown.summary(history(LocalFolder(tmp_path), FIRST + DAY_S))
    assert "**$0.00** metered in 0 runs" in told
    assert Decimal(0) == total(()).metered.usd
