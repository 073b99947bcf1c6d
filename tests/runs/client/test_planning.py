"""The name of a new run: free, or the one that the same spec has just begun under it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.client import planning
from cloudtrain.state.store import LocalFolder
from tests.records import begin

PREPARED: Any = SimpleNamespace(identity="this")


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """A state with a run `mine` of this spec and one `other` of another."""
    made = LocalFolder(tmp_path)
    begin(made, "mine", identity="this")
    begin(made, "other", identity="that")
    return made


def test_a_free_name_is_taken_and_an_odd_one_refused(store: LocalFolder) -> None:
    """Letters, digits, dots, dashes and underscores."""
    assert planning.new_name(store, PREPARED, "free", False) == "free"
    for odd in ("../x", ".x", "a b", ""):
        with pytest.raises(UsageError, match="is not a run name"):
            planning.new_name(store, PREPARED, odd, False)


def test_two_clients_beginning_the_same_spec_mean_one_run(store: LocalFolder) -> None:
    """The second one meets the first one's lease instead of being told that its spec is another one."""
    assert planning.new_name(store, PREPARED, "mine", False) == "mine"
    with pytest.raises(UsageError, match="`mine` is there already"):
        planning.new_name(store, PREPARED, "mine", True)
    with pytest.raises(UsageError, match="of another spec or data"):
        planning.new_name(store, PREPARED, "other", False)
