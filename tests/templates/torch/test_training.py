"""Whole runs of the trainer on a two-layer model: every method, every way a run can end.

They begin in forks of a warm interpreter, but for one of each way to end: a refusal, a signal, a deadline, a missing
accelerator are also those of a process of its own.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.chance import seed
from tests.templates.conftest import (
    COMMON,
    ONE_THREAD,
    TORCH,
    Bench,
    Ended,
    conversation,
    resumed_in_other_splits,
    write_rows,
)

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("training")]  # they share what was trained once
METHODS = ("full", "lora", "qlora", "dora", "freeze")


@pytest.fixture(scope="module")
def runs(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """A run of each method, one to compare interrupted ones with, and two that cannot work. Two at a time."""
    root = tmp_path_factory.mktemp("runs")
    evaluated = {"data": {"path": str(bench.data), "eval_fraction": 0.2}, "eval": {"every_steps": 4}}
    kinds: dict[str, dict[str, Any]] = {
        **{method: {"method": method, "train_layers": 1, **evaluated} for method in METHODS},
        "uninterrupted": endless(root / "uninterrupted"),
        "longer than the model sees": {"sequence_length": 1024},
        "too short for an answer": {"sequence_length": 8},
    }
    with ThreadPoolExecutor(2) as pool:
        ended = pool.map(lambda name: bench.train(root / name, **kinds[name]), kinds)
        return dict(zip(kinds, ended, strict=True))


def endless(folder: Path, **changes: Any) -> dict[str, Any]:
    """A run with dropout (so that random numbers matter) that saves after every step and keeps all of it."""
    checkpoint = {"folder": str(folder / "ckpt"), "every_s": 0, "keep": 50}
    return {"max_steps": 14, "lora": {"dropout": 0.2}, "grad_accum": 2, "checkpoint": checkpoint, **changes}


OPENS = """
import json, sys
from pathlib import Path
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
model, *folders = sys.argv[1:]
found = {}
for name in folders:
    if (Path(name) / "adapter_config.json").exists():
        base = AutoModelForCausalLM.from_pretrained(json.loads((Path(name) / "adapter_config.json").read_text())["base_model_name_or_path"], dtype=torch.bfloat16)
        trained = PeftModel.from_pretrained(base, name)
    else:
        trained = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16)
    ids = AutoTokenizer.from_pretrained(name)("What is", return_tensors="pt")["input_ids"]
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    with torch.no_grad():
        logits = trained(input_ids=ids).logits
        found[Path(name).parent.name] = {"change": (logits - plain(input_ids=ids).logits).abs().max().item(),
                                         "changed": sorted(k for k, v in plain.state_dict().items()
                                                           if k in trained.state_dict() and not torch.equal(v, trained.state_dict()[k])),
                                         "logits": logits.float().sum().item()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def opened(runs: dict[str, Ended], bench: Bench) -> dict[str, Any]:
    """What the outputs of all methods, and the lora one merged, compute when they are opened with PEFT or transformers."""
    merged = runs["lora"].folder.parent / "merged" / "output"
    merged.parent.mkdir()
    command = [str(bench.python), str(TORCH / "merge.py"), str(runs["lora"].folder / "output"), str(merged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    folders = [str(runs[name].folder / "output") for name in METHODS] + [str(merged)]
    command = [str(bench.python), "-c", OPENS, str(bench.model), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("method", METHODS)
def test_each_method_learns_and_reports(runs: dict[str, Ended], method: str) -> None:
    """The loss falls, the events tell the story in order, and the exit code is 0."""
    run = runs[method]
    assert run.code == 0, run.stderr[-2000:]
    order = [event["event"] for event in run.events]
    assert order[:4] == ["start", "data", "compute", "loaded"]
    assert order[-1] == "done"
    assert [event["step"] for event in run.of("step")] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in run.of("eval")] == [4, 6]
    losses = list(run.losses.values())
    assert losses[-1] < losses[0]
    done, loaded = run.one("done"), run.one("loaded")
    assert done["tokens"] == run.of("step")[-1]["tokens"] > 0
    assert 0 < done["train_seconds"] < done["seconds"]
    assert done["peak_bytes"] > 2**28
    assert (loaded["trainable"] == loaded["total"]) == (method == "full")


@pytest.mark.parametrize("method", METHODS)
def test_the_output_opens_and_answers_differently(opened: dict[str, Any], runs: dict[str, Ended], method: str) -> None:
    """PEFT or transformers opens the folder, and what was trained makes a difference."""
    assert opened[method]["change"] > 0
    output = runs[method].folder / "output"
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["losses"][-1] == [6, pytest.approx(runs[method].losses[6])]
    assert metrics["eval_loss"] == pytest.approx(runs[method].of("eval")[-1]["loss"])
    card = (output / "README.md").read_text()
    assert f"| method | {method} |" in card
    assert "train.jsonl" in card
    assert not list(output.glob("optimizer*"))


def test_freeze_changes_only_the_last_layers(opened: dict[str, Any]) -> None:
    """Embeddings, norms outside and earlier layers are as they were."""
    assert opened["freeze"]["changed"]
    assert all(name.startswith("model.layers.1.") for name in opened["freeze"]["changed"])


def test_merging_gives_the_adapted_model(opened: dict[str, Any]) -> None:
    """The merged model computes what base and adapter compute together, to the precision of bf16."""
    assert opened["merged"]["change"] == pytest.approx(opened["lora"]["change"], rel=0.05)


def test_a_killed_run_resumes_as_if_nothing_had_happened(runs: dict[str, Ended], bench: Bench, tmp_path: Path) -> None:
    """After kill -9, then SIGTERM (exit 75), the third start finishes: every loss equals that of the uninterrupted run."""
    whole = runs["uninterrupted"]
    assert whole.code == 0, whole.stderr[-2000:]
    job = bench.job(tmp_path, **endless(tmp_path))
    first_stop = random.Random(seed(3)).randint(2, 5)
    killed = bench.until_step(bench.start(job), first_stop, signal.SIGKILL, tmp_path)
    assert killed.code == -signal.SIGKILL
    asked = bench.until_step(bench.start(job, real=True), first_stop + 3, signal.SIGTERM, tmp_path)
    assert asked.code == 75, asked.stderr[-2000:]
    assert asked.one("stopped")["reason"] == "SIGTERM"
    assert asked.one("start")["resumed_from"] in (killed.of("step")[-1]["step"] - 1, killed.of("step")[-1]["step"])
    last = bench.wait(bench.start(job), tmp_path)
    assert last.code == 0, last.stderr[-2000:]
    assert last.one("start")["resumed_from"] == asked.of("checkpoint")[-1]["step"]
    for part in (killed, asked, last):
        assert part.losses == {step: whole.losses[step] for step in part.losses}, f"first stop {first_stop}"
    assert last.of("step")[-1]["step"] == 14
    assert last.one("done")["tokens"] == whole.one("done")["tokens"]
    told = json.loads((tmp_path / "output" / "metrics.json").read_text())["losses"]
    assert [step for step, _ in told] == list(range(1, 15))


def test_a_run_resumes_in_other_micro_batches(bench: Bench, tmp_path: Path) -> None:
    """Another machine of a run may have room for more sequences at once, or for fewer: tokens and losses stay."""
    resumed_in_other_splits(bench, tmp_path)


def test_the_last_save_holds_what_is_trained_alone(runs: dict[str, Ended]) -> None:
    """Nothing is trained after it, so the optimizer's states, two thirds of a save, are not written."""
    folder = runs["uninterrupted"].folder / "ckpt"
    assert (folder / "13" / "moments.safetensors").exists()
    assert not (folder / "14" / "moments.safetensors").exists()
    assert (folder / "14" / "adapter_model.safetensors").exists()


def test_a_finished_job_is_not_trained_again(runs: dict[str, Ended], bench: Bench) -> None:
    """Starting a finished job again makes no step and gives the same result."""
    run = runs["lora"]
    again = bench.wait(bench.start(run.folder / "job.json"), run.folder)
    assert again.code == 0
    assert again.of("step") == again.of("loaded") == []
    assert again.one("done")["final_loss"] == pytest.approx(run.one("done")["final_loss"])


def test_checkpoints_of_another_job_are_refused(runs: dict[str, Ended], bench: Bench, tmp_path: Path) -> None:
    """Another rank cannot go on from them: exit 64 names the folder."""
    folder = runs["lora"].folder / "ckpt"
    ended = bench.train(tmp_path, lora={"rank": 4}, checkpoint={"folder": str(folder)})
    assert ended.code == 64
    assert "belong to another job" in ended.one("error")["message"]


def test_a_deadline_ends_the_run_resumable(bench: Bench, tmp_path: Path) -> None:
    """With nobody watching, a run past its deadline stops with 75 and says why, while libraries load too."""
    ended = bench.train(tmp_path, real=True, deadline=time.time() + 1, grace_s=120)
    assert ended.code == 75
    assert ended.one("stopped")["reason"] == "deadline"


def test_a_full_disk_keeps_the_last_good_checkpoint(runs: dict[str, Ended], bench: Bench, tmp_path: Path) -> None:
    """A save that cannot be written ends the run with a sentence; LATEST still names a whole checkpoint."""
    job = bench.job(tmp_path, **endless(tmp_path))
    first = shutil.copytree(runs["uninterrupted"].folder / "ckpt" / "1", tmp_path / "ckpt" / "1")
    (tmp_path / "ckpt" / "LATEST").write_text("1\n")
    largest = max(path.stat().st_size for path in first.iterdir())

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, largest - 1))

    ended = bench.wait(bench.start(job, preexec_fn=small_files_only), tmp_path)
    assert (ended.code, ended.one("error")["code"]) == (1, "save_failed"), ended.stderr[-2000:]
    assert ended.one("start")["resumed_from"] == 1
    assert (tmp_path / "ckpt" / "LATEST").read_text() == "1\n"
    assert (first / "complete.json").exists()


def test_a_bad_job_ends_with_64(bench: Bench, tmp_path: Path) -> None:
    """One sentence on standard output, as an event."""
    ended = bench.train(tmp_path, real=True, learning_rate=1)
    assert (ended.code, ended.one("error")["message"]) == (64, "unknown key `learning_rate`")


def test_a_sequence_longer_than_the_models_limit_ends_64(runs: dict[str, Ended]) -> None:
    """The limit is the model's own."""
    ended = runs["longer than the model sees"]
    assert (ended.code, ended.one("error")["code"]) == (64, "bad_job")
    assert "512 positions" in ended.one("error")["message"]


def test_bad_data_ends_with_65_and_the_line(bench: Bench, tmp_path: Path) -> None:
    """Data is read before anything slow is loaded."""
    data = write_rows(tmp_path / "bad.jsonl", [conversation("Why?", "Because."), {"messages": []}])
    ended = bench.train(tmp_path, real=True, data={"path": str(data)})
    assert ended.code == 65
    assert ended.one("error")["message"].startswith("line 2: ")


def test_rows_without_room_for_an_answer_end_with_65(runs: dict[str, Ended]) -> None:
    """When cutting leaves nothing to learn, the sentence says what to raise."""
    ended = runs["too short for an answer"]
    assert (ended.code, ended.one("error")["code"]) == (65, "bad_data")
    assert "raise sequence_length" in ended.one("error")["message"]


@pytest.mark.skipif(Path("/dev/kfd").exists(), reason="this machine has an AMD GPU")
def test_a_missing_accelerator_ends_with_70(bench: Bench, tmp_path: Path) -> None:
    """The machine that was paid for must have what was paid for."""
    ended = bench.train(tmp_path, real=True, accelerator="rocm")
    assert (ended.code, ended.one("error")["code"]) == (70, "no_accelerator")


def test_the_data_check_counts_as_the_trainer_does(runs: dict[str, Ended], bench: Bench, tmp_path: Path) -> None:
    """Rows, tokens and steps of check_data.py equal the trainer's own; problems carry their lines."""
    command = [str(bench.python), str(COMMON / "check_data.py"), str(runs["full"].folder / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    found, told = json.loads(done.stdout), runs["full"].one("data")
    assert {key: found[key] for key in ("rows", "tokens", "tokens_trained", "steps")} == {
        key: told[key] for key in ("rows", "tokens", "tokens_trained", "steps")
    }
    assert found["template"] == {"present": True, "trainable": True, "learns_to_stop": True}
    data = write_rows(
        tmp_path / "bad.jsonl", [conversation("Why?", "So."), {"messages": []}, conversation("Why?", "So.")]
    )
    command[-1] = str(bench.job(tmp_path, data={"path": str(data)}))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    found = json.loads(done.stdout)
    assert done.returncode == 65
    assert found["problems"] == [{"line": 2, "problem": "`messages` is empty"}]
    assert found["duplicates"] == 1
