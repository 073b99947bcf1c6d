"""What a finished run teaches later quotes, which run teaches nothing, and how it is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import RunNotFound
from cloudtrain.records import ExitRecord, GoneRecord, QuoteRecord, RecipeRecord
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row

SPEC = b"model: qwen3-0.6b\nmethod: lora\ndata: data.jsonl\nsequence_length: 512\n"


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(tmp_path / "state")


def finished(store: LocalFolder, name: str = "mine", tokens: int = 6144, **intent: Any) -> Run:
    """A run of 12 steps on this machine, of which others had half."""
    run = Run(store, name)
    begin(store, name, **intent)
    store.write(run.key("spec.yaml"), SPEC)
    line = row(hardware="cpu-zen", required_bytes=5, recipe=RecipeRecord(method="lora", stack="trl-cpu"))
    run.write("quote.json", QuoteRecord(line=line, flops_per_token=1e9))
    run.write("machine.json", machine())
    ended = ExitRecord(reason="done", ended_at=5.0, step=12, tokens=tokens, tokens_per_second=40.0, load=0.5)
    run.write("exit.json", ended)
    run.write("gone.json", GoneRecord(time=6.0))
    return Run(store, name)


def test_a_finished_run_is_measured_once(store: LocalFolder) -> None:
    """With what it takes to weigh it."""
    for _ in range(2):
        measurements.learn(finished(store))
    (found,) = measurements.known(store)
    assert (found.run, found.provider, found.hardware, found.flops_per_s) == ("mine", "local", "cpu-zen", 4e10)
    assert (found.steps, found.tokens, found.sequence_length, found.load) == (12, 6144, 512, 0.5)


@pytest.mark.parametrize("changes", [{"tokens": 999}, {"teaches": False}])
def test_some_runs_teach_nothing(store: LocalFolder, changes: dict[str, Any]) -> None:
    """One that measures its own start-up, and one that was begun so, as the demo is."""
    measurements.learn(finished(store, **changes))
    assert measurements.known(store) == []


def test_what_was_measured_can_be_taken_back(store: LocalFolder) -> None:
    """Of one run or of all; and it is not learnt again."""
    for name in ("one", "two", "three"):
        measurements.learn(finished(store, name))
    assert measurements.forget(store, ["two"]) == 1
    measurements.learn(Run(store, "two"))
    assert [each.run for each in measurements.known(store)] == ["one", "three"]
    with pytest.raises(RunNotFound, match="two"):
        measurements.forget(store, ["one", "two"])
    assert measurements.forget(store, None) == 2
    assert measurements.known(store) == []


def test_a_damaged_line_hides_no_other(store: LocalFolder) -> None:
    """It is passed over."""
    store.append(measurements.FILE, b"[1]")
    measurements.learn(finished(store))
    assert [each.run for each in measurements.known(store)] == ["mine"]
