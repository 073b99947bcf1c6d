"""`cloudtrain report --share`: what a line holds, and that nothing of the person's gets into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.records import ExitRecord, QuoteRecord, RecipeRecord
from cloudtrain.report.share import Shared, document, shared
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin, row

SECRET = "grandmothers-letters"
RECIPE = RecipeRecord(stack="jax-own", method="qlora", targets="all-linear", rank=8, batch=4, quantisation="nf4")


def run_of(store: LocalFolder, model: str = "llama-3.1-8b", name: str = SECRET, **more: Any) -> Run:
    """A run on four v6e chips that is over."""
    teaches = more.pop("teaches", True)
    begin(store, name, provider="gcp", created=1e9, deadline=1e9 + 3600, teaches=teaches)
    run = Run(store, name)
    line = row(
        provider="gcp",
        offer=f"v6e-4 {SECRET}",
        hardware="tpu-v6e",
        count=4,
        devices=4,
        stack="jax 0.10.2",
        recipe=RECIPE,
    )
    run.write("quote.json", QuoteRecord(line=line, flops_per_token=3.213456789e10))
    run.write(
        "exit.json",
        ExitRecord(**{"reason": "done", "step": 90, "tokens": 737_280, "tokens_per_second": 12345.678, **more}),
    )
    store.write(run.key("spec.yaml"), f"model: {model}\ndata: /home/{SECRET}/rows.jsonl\nmethod: qlora\n".encode())
    return run


def test_the_line_says_what_ran_where_and_how_fast(tmp_path: Path) -> None:
    """Speed to four digits, of all chips together."""
    line = shared(run_of(LocalFolder(tmp_path)))
    assert line is not None
    assert (line.model, line.method, line.hardware, line.chips) == ("llama-3.1-8b", "qlora", "tpu-v6e", 4)
    assert (line.sequence_length, line.batch, line.rank, line.quantisation) == (2048, 4, 8, "nf4")
    assert (line.tokens_per_s, line.gflop_per_token, line.stack, line.software) == (
        12350.0,
        32.13,
        "jax-own",
        "jax 0.10.2",
    )


def test_nothing_of_the_person_is_in_the_line(tmp_path: Path) -> None:
    """No name of a run, file, place or account; a model of one's own is its family and size."""
    folder = tmp_path / SECRET
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama",
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 128,
                "vocab_size": 512,
                "num_key_value_heads": 4,
            }
        )
    )
    for number, model in enumerate(("llama-3.1-8b", str(folder), f"{SECRET}/model")):
        line = shared(run_of(LocalFolder(tmp_path / "state"), model, f"{SECRET}-{number}"))
        assert line is not None
        text = json.dumps(document(line))
        assert SECRET not in text
        assert "gcp" not in text
        assert set(document(line)) == set(Shared._fields)


@pytest.mark.parametrize("more", [{"tokens": 900}, {"tokens_per_second": None}, {"teaches": False}])
def test_a_run_that_measured_nothing_has_no_line(tmp_path: Path, more: dict[str, Any]) -> None:
    """Too short, without a speed, or a demo."""
    assert shared(run_of(LocalFolder(tmp_path), **more)) is None


def test_the_command_prints_a_line_for_each_run(own_world: Path, cloudtrain: Callable[..., Result]) -> None:
    """JSON lines alone on standard output."""
    store = LocalFolder(own_world / "state")
    run_of(store, name="one-000001")
    run_of(store, name="two-000002", tokens=10)
    shown = cloudtrain("report", "--share")
    assert [json.loads(text)["model"] for text in shown.out.splitlines()] == ["llama-3.1-8b"]
    assert cloudtrain("report", "two-000002", "--share").code == 2
    assert cloudtrain("report", "--share", "--trend").code == 2
