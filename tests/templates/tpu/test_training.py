"""Whole runs of the TPU trainer, on a processor: what they report, every way they can end, and that they resume."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import Bench, Ended, conversation, write_rows
from tests.templates.tpu.conftest import TPU, Runs

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("tpu")]  # they share what was trained once


@pytest.fixture(scope="module")
def runs(train_all: Runs, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """All runs, in one process."""
    root = tmp_path_factory.mktemp("runs")
    bad = write_rows(root / "bad.jsonl", [conversation("Why?", "Because."), {"messages": []}])
    evaluated = {"data": {"path": str(bench.data), "eval_fraction": 0.2}}
    # Dropout, so that random numbers matter; a save after every step, and all of them kept.
    whole = {**evaluated, "max_steps": 7, "lora": {"dropout": 0.2}, "grad_accum": 2, "eval": {"every_steps": 3}}
    saves = {name: {"checkpoint": saved(root / name)} for name in ("whole", "stopped", "full", "one", "four", "other")}
    once = {"max_steps": 3, "checkpoint": {"folder": str(root / "once"), "every_s": 600}}
    few = {**saves["four"], "max_steps": 4}
    return train_all(
        {
            "whole": {**whole, **saves["whole"]},
            "stopped": {**whole, **saves["stopped"], "folder": root / "stopped", "signal_at": 3},
            "resumed": {**whole, **saves["stopped"], "folder": root / "stopped"},
            "again": {**whole, **saves["stopped"], "folder": root / "stopped"},
            "not evaluated": {**whole, "eval": {"every_steps": 0}, "checkpoint": saved(root / "quiet")},
            "four at once": {**few, "micro_batch": 4},
            "one at a time": {**few, **saves["one"], "folder": root / "one", "grad_accum": 4, "signal_at": 2},
            "two at a time": {**few, **saves["one"], "folder": root / "one", "micro_batch": 2, "grad_accum": 2},
            "all packed": {**once, "micro_batch": 12},
            "none packed": {**once, "micro_batch": 24, "packing": False, "checkpoint": saved(root / "alone")},
            "qlora": {"method": "qlora", "max_steps": 2, "compute": "auto"},
            "other rank": {**whole, **saves["whole"], "lora": {"rank": 4}},
            "diverged": {"lr": 1e17, "optimizer": "sgd", "lora": {"alpha": 1e12}},
            "full disk": {**whole, **saves["full"], "largest_file": 20_000},
            "bad data": {"data": {"path": str(bad)}},
            "too long": {"sequence_length": 1024},
            "too short": {"sequence_length": 8},
            "dora": {"method": "dora"},
            "8 bit": {"optimizer": "adamw8bit"},
            "no chip": {"accelerator": "tpu"},
            "late": {"deadline": time.time(), "grace_s": 3600},
        }
    )


def saved(folder: Path) -> dict[str, Any]:
    """After every step, all of them kept."""
    return {"folder": str(folder / "ckpt"), "every_s": 0, "keep": 50}


def test_a_run_tells_what_the_torch_trainer_tells(runs: dict[str, Ended], bench: Bench) -> None:
    """The same events with the same fields in the same order, and a loss that falls."""
    run = runs["whole"]
    assert run.code == 0, run.stderr[-2000:]
    order = [event["event"] for event in run.events]
    assert order[:4] == ["start", "data", "compute", "loaded"]
    assert order[-1] == "done"
    assert [event["step"] for event in run.of("step")] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["step"] for event in run.of("eval")] == [3, 6, 7]
    assert run.losses[7] < run.losses[1]
    assert run.one("start")["devices"] == {"kind": "cpu", "count": 1}
    assert run.one("loaded")["mesh"] == "one chip"
    fields = {"event", "time", "step", "of", "loss", "lr", "tokens", "tokens_per_second", "peak_bytes"}
    assert set(run.of("step")[0]) == fields
    done = run.one("done")
    assert done["tokens"] == run.of("step")[-1]["tokens"] > 0
    assert 0 < done["train_seconds"] < done["seconds"]
    assert done["peak_bytes"] > 2**27
    assert run.one("loaded")["trainable"] < run.one("loaded")["total"]


def test_the_result_is_a_peft_adapter_with_card_and_metrics(runs: dict[str, Ended]) -> None:
    """And without what is only for resuming."""
    run = runs["whole"]
    output = run.folder / "output"
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["losses"] == [[step, pytest.approx(loss)] for step, loss in run.losses.items()]
    assert metrics["eval_loss"] == pytest.approx(run.of("eval")[-1]["loss"])
    assert "| method | lora |" in (output / "README.md").read_text()
    config = json.loads((output / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 16, 32)
    names = {path.name for path in output.iterdir()}
    assert {"adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert not names & {"moments.safetensors", "memory.safetensors", "trainer_state.json", "progress.json"}


def test_a_stopped_run_resumes_to_equal_losses(runs: dict[str, Ended]) -> None:
    """SIGTERM: a checkpoint at the step boundary and 75; then the same losses to the last digit."""
    whole, stopped, resumed = runs["whole"], runs["stopped"], runs["resumed"]
    assert (stopped.code, stopped.one("stopped")["reason"]) == (75, "SIGTERM")
    assert stopped.of("checkpoint")[-1]["step"] == stopped.of("step")[-1]["step"] == 3
    assert resumed.code == 0, resumed.stderr[-2000:]
    assert resumed.one("start")["resumed_from"] == 3
    assert {**stopped.losses, **resumed.losses} == whole.losses
    assert resumed.one("done")["tokens"] == whole.one("done")["tokens"]
    assert resumed.one("done")["eval_loss"] == whole.one("done")["eval_loss"]
    assert not resumed.of("optimizer")


def test_a_finished_run_is_not_trained_again(runs: dict[str, Ended]) -> None:
    """It makes no step and gives the same result."""
    again = runs["again"]
    assert again.code == 0
    assert again.of("step") == again.of("loaded") == []
    assert again.one("done")["final_loss"] == pytest.approx(runs["whole"].one("done")["final_loss"])


def test_an_evaluation_in_between_changes_nothing(runs: dict[str, Ended]) -> None:
    """The losses of all steps are those of a run that is only evaluated at its end."""
    assert [event["step"] for event in runs["not evaluated"].of("eval")] == [7]
    assert runs["not evaluated"].losses == runs["whole"].losses


def test_steps_do_not_depend_on_how_they_are_split_up(runs: dict[str, Ended]) -> None:
    """Another machine may have room for more rows at once: tokens are equal, losses to rounding."""
    whole, parts = runs["four at once"], [runs["one at a time"], runs["two at a time"]]
    assert [part.code for part in parts] == [75, 0]
    losses = parts[0].losses | parts[1].losses
    assert list(losses) == list(whole.losses)
    assert list(losses.values()) == pytest.approx(list(whole.losses.values()), rel=1e-5)
    tokens = [event["tokens"] for part in parts for event in part.of("step")]
    assert tokens == [event["tokens"] for event in whole.of("step")]


def test_packed_documents_are_trained_as_alone(runs: dict[str, Ended]) -> None:
    """With all documents in each step, rows shared or not, the losses are the same to rounding."""
    packed, alone = runs["all packed"], runs["none packed"]
    assert packed.of("step")[0]["tokens"] == alone.of("step")[0]["tokens"]
    assert list(packed.losses.values()) == pytest.approx(list(alone.losses.values()), rel=1e-5)


def test_four_bit_weights_train_in_float32_on_a_processor(runs: dict[str, Ended]) -> None:
    """And the event says so."""
    run = runs["qlora"]
    assert run.code == 0, run.stderr[-2000:]
    assert run.one("compute")["type"] == "fp32"


def test_checkpoints_of_another_job_are_refused(runs: dict[str, Ended]) -> None:
    """Another rank cannot go on from them."""
    run = runs["other rank"]
    assert (run.code, "belong to another job" in run.one("error")["message"]) == (64, True)


def test_a_loss_that_is_no_number_ends_the_run(runs: dict[str, Ended]) -> None:
    """Further steps would only cost money."""
    run = runs["diverged"]
    assert (run.code, run.one("error")["code"]) == (1, "diverged")
    assert run.of("step")[-1]["loss"] is None


def test_a_full_disk_is_told_and_leaves_no_half_checkpoint(runs: dict[str, Ended]) -> None:
    """The save that cannot be written ends the run with a sentence."""
    run = runs["full disk"]
    assert (run.code, run.one("error")["code"]) == (1, "save_failed"), run.stderr[-2000:]
    assert not list((run.folder.parent / "full" / "ckpt").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("bad data", 65, "line 2: "),
        ("too short", 65, "raise sequence_length"),
        ("too long", 64, "512 positions"),
        ("dora", 64, "`method` must be "),
        ("8 bit", 64, "`optimizer` must be "),
        ("no chip", 70, "this machine has no TPU"),
    ],
)
def test_what_cannot_be_trained_is_refused(runs: dict[str, Ended], name: str, code: int, says: str) -> None:
    """With the torch trainer's exit codes and one sentence."""
    assert runs[name].code == code
    assert says in runs[name].one("error")["message"]


def test_a_deadline_ends_the_run_resumable(runs: dict[str, Ended]) -> None:
    """With nobody watching."""
    assert (runs["late"].code, runs["late"].one("stopped")["reason"]) == (75, "deadline")


def test_a_process_of_its_own_refuses_and_resumes(
    runs: dict[str, Ended], bench: Bench, jax_python: Path, jax_environment: dict[str, str], tmp_path: Path
) -> None:
    """The program itself, with its variables and its exit codes; what is damaged is passed over."""
    bad = bench.job(tmp_path / "bad", learning_rate=1)
    changes = json.loads((runs["stopped"].folder / "stopped.json").read_text())
    folder = shutil.copytree(runs["stopped"].folder / "ckpt", tmp_path / "ckpt")
    (folder / "7" / "adapter_model.safetensors").write_bytes(b"short")
    places = {"checkpoint": {**changes["checkpoint"], "folder": str(folder)}, "output": str(tmp_path / "output")}
    good = bench.job(tmp_path, **{**changes, **places})
    ended = []
    for job in (bad, good):
        command = [str(jax_python), str(TPU / "fine_tune.py"), str(job)]
        environment = {
            key: value for key, value in jax_environment.items() if key not in ("PYTHONPATH", "JAX_PLATFORMS")
        }
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        ended.append(Ended(done.returncode, events, tmp_path, done.stderr))
    refused, resumed = ended
    assert (refused.code, refused.one("error")["message"]) == (64, "unknown key `learning_rate`")
    assert resumed.code == 0, resumed.stderr[-2000:]
    assert resumed.one("start")["resumed_from"] == 6
    assert resumed.losses == {7: runs["whole"].losses[7]}
