"""What a CI system is handed: one line for each output, a summary within its bound, a warning that is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.nights import ci
from cloudtrain.nights.outcome import Tick


def test_the_outputs_are_lines_of_their_own(tmp_path: Path) -> None:
    """Appended to what the step has written before."""
    path = tmp_path / "output"
    path.write_text("before=1\n")
    ci.write_outputs(Tick("skipped: budget", "nightly", "2026-03-17", "", "a\nb"), {"GITHUB_OUTPUT": str(path)})
    assert path.read_text() == "before=1\noutcome=skipped: budget\nrun=\ndate=2026-03-17\n"


@pytest.mark.parametrize("run", ["a\nrun=b", "a\rb", "a\x85b", "a\u2028b"])
def test_a_value_that_would_add_a_line_is_refused(tmp_path: Path, run: str) -> None:
    """A record in a bucket may hold anything."""
    path = tmp_path / "output"
    with pytest.raises(UsageError, match="the output `run` would be"):
        ci.write_outputs(Tick("started", "nightly", "2026-03-17", run), {"GITHUB_OUTPUT": str(path)})
    assert not path.exists()


def test_a_summary_stays_below_a_mebibyte_with_what_others_wrote(tmp_path: Path) -> None:
    """What does not fit is left out, and said."""
    path = tmp_path / "summary"
    path.write_text("x" * (ci.MOST_BYTES - 2000))
    ci.write_summary("\u00e9" * 5000, {"GITHUB_STEP_SUMMARY": str(path)})
    assert ci.MOST_BYTES - 10 < path.stat().st_size <= ci.MOST_BYTES
    assert path.read_text().endswith(ci.LEFT_OUT)
    ci.write_summary("more", {"GITHUB_STEP_SUMMARY": str(path)})
    assert path.stat().st_size <= ci.MOST_BYTES


def test_nothing_is_written_where_no_ci_system_asks() -> None:
    """On a laptop."""
    assert ci.write_outputs(Tick("started", "nightly", run="a\nb"), {}) is None  # type: ignore[func-returns-value]
    assert ci.write_summary("text", {}) is None  # type: ignore[func-returns-value]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Exit code 2."""
    with pytest.raises(UsageError, match="cannot be written"):
        ci.write_summary("text", {"GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "file")})


def test_a_warning_is_one_line() -> None:
    """Whatever a provider says."""
    assert ci.warning("50 %\n::error::x\r") == "::warning title=cloudtrain::50 %25%0A::error::x%0D"
