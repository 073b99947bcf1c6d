"""Ending many runs: one that cannot be ended does not keep the others alive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import TeardownIncomplete, UsageError
from cloudtrain.runs import teardown
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin


def test_one_failure_keeps_no_other_run_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`down --all` ends the rest, then raises: 6 when something may be left, 2 when only a record is missing."""
    store = LocalFolder(tmp_path)
    for name in ("a", "b", "c"):
        begin(store, name)
    fault: Exception = TeardownIncomplete("b may be left", "cloudtrain down b")

    def down(run: Run, ending: Any) -> Run:
        if run.id == "b":
            raise fault
        return run

    monkeypatch.setattr(teardown, "down", down)
    for error in (fault, UsageError("b is gone, but not written down")):
        fault, told = error, []
        with pytest.raises(type(error)):
            teardown.end_runs(store, None, teardown.StopOptions(0.0), told.append)
        assert [ended.run.id for ended in told] == ["a", "c"]
