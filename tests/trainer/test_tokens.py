"""Counting tokens: by the model's tokenizer when it is at hand; what the counting program says becomes our words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.models import config
from cloudtrain.trainer import environment, tokens
from tests.templates.conftest import conversation, tiny_model, write_rows
from tests.trainer_fixtures import demo_model, trainer_python, warm_cache, warm_python

__all__ = ["demo_model", "tiny_model", "trainer_python", "warm_cache", "warm_python"]  # fixtures


def test_each_kind_of_fault_is_named_with_its_line() -> None:
    """A problem is `file:line: sentence`; of rows where lines mean nothing, and of the file that it is in."""
    problems = [
        {"line": 7, "problem": "the last turn is the user's (4 rows: line 7, 8, 9 and 1 more)"},
        {"line": 9, "problem": "x", "unit": "row", "file": "e.json"},
        {"line": 0, "problem": "no row has an answer"},
    ]
    with pytest.raises(UsageError) as refused:
        tokens.answer(json.dumps({"rows": 3, "problems": problems, "problem_count": 12}), "", "d.jsonl")
    assert refused.value.message.splitlines() == [
        "d.jsonl:7: the last turn is the user's (4 rows: line 7, 8, 9 and 1 more)",
        "e.json: row 9: x",
        "no row has an answer",
    ]


def test_a_refused_job_is_a_usage_error() -> None:
    """The program's own sentence is passed on."""
    with pytest.raises(UsageError, match="no chat template"):
        tokens.answer('{"event": "error", "code": 65, "message": "no chat template"}\n', "", "d.jsonl")


@pytest.mark.parametrize("said", ["", "Traceback", "{broken"])
def test_a_program_that_dies_is_told_with_last_words(said: str) -> None:
    """Anything but a document is told with the last line of stderr."""
    with pytest.raises(CloudtrainError, match="out of memory"):
        tokens.answer(said, "something\nout of memory\n", "d.jsonl")


@pytest.mark.trainer
def test_tokens_are_counted_when_model_and_environment_are_at_hand(
    tiny_model: Path, warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs are twice the tokens of one; without an environment nothing is counted."""
    data = write_rows(tmp_path / "d.jsonl", [conversation("What is the capital of Peru?", "Lima.")] * 3)
    model = replace(config.read(tiny_model / "config.json"), path=str(tiny_model))
    once, twice = (tokens.at_hand(model, data, 128, epochs) for epochs in (1.0, 2.0))
    assert once is not None
    assert twice == 2 * once > 0
    monkeypatch.setattr(environment, "find", lambda flavour: None)
    assert tokens.at_hand(model, data, 128, 1.0) is None
