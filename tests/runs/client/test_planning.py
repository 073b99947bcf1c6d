"""The name of a new run: free, or the one that the same spec has just begun under it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.client import planning
from cloudtrain.runs.client.machinery import RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.spec.dataset import Problem
from cloudtrain.state.store import LocalFolder
from tests.records import begin

PREPARED: Any = SimpleNamespace(identity="this")
DOUBTS = (
    Problem(Path("d.jsonl"), 4, "`history` is not read", False),
    Problem(Path("d.jsonl"), 1, "`thinking` is learnt only where the template writes it", False, by_template=True),
)


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


def planner(heard: list[Any]) -> planning.Planner:
    """One that tells a list what it reports."""
    return planning.Planner(UpOptions(), None, heard.append, RealClouds())  # type: ignore[arg-type]


def test_doubts_are_told_where_nothing_can_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a rented machine without an environment here, what only its chat template could settle is told too."""
    monkeypatch.setattr(planning.tokens, "python_for", lambda flavour: None)
    monkeypatch.setattr(planning.prepare, "chosen_line", lambda quote: None)
    monkeypatch.setattr(planning, "flavour_of", lambda row: "cpu")
    data = SimpleNamespace(problems=DOUBTS)
    prepared: Any = SimpleNamespace(model=SimpleNamespace(path=None), data=data)
    rough: Any = SimpleNamespace(request=SimpleNamespace(tokens=5, tokens_basis="4 characters a token"))
    heard: list[Any] = []
    quote, checked = planner(heard).better_quote(None, prepared, rough, None)  # type: ignore[arg-type]
    assert quote is rough
    assert checked.startswith("not checked with the model's tokenizer: there is no environment")
    assert [event.text for event in heard[1:]] == [f"warning: {doubt}" for doubt in DOUBTS]


def test_what_the_template_settles_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counting has rendered every row: its own words take the place of the doubts."""
    spec = SimpleNamespace(sequence_length=64)
    prepared: Any = SimpleNamespace(identity="i" * 20, spec=spec, data=SimpleNamespace(problems=DOUBTS))
    monkeypatch.setattr(planning.prepare, "token_check", lambda *_: {"warnings": ["the chat template leaves it out"]})
    heard: list[Any] = []
    planner(heard).count(prepared, "cpu")
    assert heard[0].problems == ("d.jsonl:4: `history` is not read", "the chat template leaves it out")
