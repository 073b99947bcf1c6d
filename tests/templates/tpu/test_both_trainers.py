"""The torch trainer and the TPU trainer: same batches, same rates, same losses; each goes on from the other's checkpoint."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import Bench, Ended
from tests.templates.tpu.conftest import TPU, Runs

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("tpu")]
JOB = {
    "micro_batch": 2,
    "max_steps": 6,
    "weight_decay": 0.1,
    "warmup": 2,
    "compute": "fp32",
    "eval": {"every_steps": 3},
}


@pytest.fixture(scope="module")
def nights(bench: Bench, train_all: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """A run by PyTorch, one that goes on in JAX after step 2, and one that goes on from that in PyTorch after step 4."""
    root = tmp_path_factory.mktemp("nights")
    job = {**JOB, "data": {"path": str(bench.data), "eval_fraction": 0.2}}

    def after(step: int, source: str, name: str) -> dict[str, Any]:
        if step:
            shutil.copytree(root / source / "ckpt" / str(step), root / name / "ckpt" / str(step))
        return {**job, "checkpoint": {"folder": str(root / name / "ckpt"), "every_s": 0, "keep": 50}}

    first = bench.train(root / "torch", **after(0, "", "torch"))
    second = train_all({"jax": {**after(2, "torch", "jax"), "folder": root / "jax"}})["jax"]
    third = bench.train(root / "back", **after(4, "jax", "back"))
    return {"torch": first, "jax": second, "back": third}


def test_an_adapter_goes_on_in_the_other_trainer_and_back(nights: dict[str, Ended]) -> None:
    """Losses and evaluations are those of a run that stayed with one, to rounding: adapter, moments, place, rows."""
    whole = nights["torch"]
    assert whole.code == 0, whole.stderr[-2000:]
    for name, begun in (("jax", 2), ("back", 4)):
        night = nights[name]
        assert night.code == 0, night.stderr[-2000:]
        assert night.one("start")["resumed_from"] == begun
        assert not night.of("optimizer")
        assert list(night.losses) == list(range(begun + 1, 7))
        assert list(night.losses.values()) == pytest.approx([whole.losses[at] for at in night.losses], rel=1e-5)
        told = {event["step"]: event["loss"] for event in night.of("eval")}
        assert told == pytest.approx(
            {event["step"]: event["loss"] for event in whole.of("eval") if event["step"] > begun}, rel=1e-5
        )


def test_rates_and_tokens_of_each_step_are_the_torch_trainers(nights: dict[str, Ended]) -> None:
    """Warm-up, decay and the rows of every step."""
    steps = {event["step"]: event for event in nights["torch"].of("step")}
    for event in nights["jax"].of("step"):
        assert event["lr"] == pytest.approx(steps[event["step"]]["lr"], rel=1e-6)
        assert event["tokens"] == steps[event["step"]]["tokens"]


def test_the_result_of_all_nights_has_every_loss(nights: dict[str, Ended]) -> None:
    """Whichever trainer made the step."""
    losses = json.loads((nights["back"].folder / "output" / "metrics.json").read_text())["losses"]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]


def test_schedules_and_orders_are_those_of_transformers(
    warm_python: Path, jax_python: Path, jax_environment: dict[str, str]
) -> None:
    """Every schedule, with and without a warm-up; rows of an epoch in PyTorch's order."""
    script = str(Path(__file__).with_name("like_torch.py"))
    found = []
    for command in ([warm_python, script, "torch"], [jax_python, script]):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=jax_environment)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(json.loads(done.stdout))
    theirs, ours = found
    assert ours[1] == theirs[1]
    for mine, reference in zip(ours[0], theirs[0], strict=True):
        assert mine == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["adafactor", pytest.param("lion", marks=pytest.mark.soak)])
def test_memory_that_cannot_be_carried_is_said_to_start_anew(
    nights: dict[str, Ended], train_all: Runs, tmp_path: Path, optimizer: str
) -> None:
    """The adapter, the step and the rate go on; one event says that the optimizer does not."""
    folder = shutil.copytree(nights["torch"].folder / "ckpt" / "2", tmp_path / "ckpt" / "2")
    (folder / "moments.safetensors").unlink()
    sizes = json.loads((folder / "complete.json").read_text())
    del sizes["moments.safetensors"]
    progress = json.loads((folder / "progress.json").read_text())
    progress["recipe"]["optimizer"] = optimizer
    (folder / "progress.json").write_text(json.dumps(progress))
    sizes["progress.json"] = (folder / "progress.json").stat().st_size
    (folder / "complete.json").write_text(json.dumps(sizes))
    data = json.loads((nights["torch"].folder / "job.json").read_text())["data"]
    places = {"folder": tmp_path, "checkpoint": {"folder": str(tmp_path / "ckpt")}, "data": data}
    run = train_all({"on": {**JOB, **places, "optimizer": optimizer}})["on"]
    assert run.code == 0, run.stderr[-2000:]
    assert run.one("optimizer")["carried"] is False
    assert run.losses[3] == pytest.approx(nights["torch"].losses[3], rel=1e-5)  # before the first change of its own


MERGED = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
model, adapter, merged = sys.argv[1:]
ids = AutoTokenizer.from_pretrained(merged)("What is the capital of Spain?", return_tensors="pt")["input_ids"]
with torch.no_grad():
    found = [each(input_ids=ids).logits.float() for each in (
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter),
        AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32),
        AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32))]
print((found[0] - found[1]).abs().max().item(), (found[0] - found[2]).abs().max().item())
"""


def test_a_merged_model_opens_and_computes_as_the_adapted_one(
    nights: dict[str, Ended], bench: Bench, jax_python: Path, tmp_path: Path
) -> None:
    """In transformers; the base's own files and names, its weights in bf16."""
    adapter, merged = nights["jax"].folder / "output", tmp_path / "merged"
    command = [str(jax_python), str(TPU / "merge.py"), str(adapter), str(merged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    command = [str(bench.python), "-c", MERGED, str(bench.model), str(adapter), str(merged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    apart, changed = map(float, done.stdout.split())
    assert apart < 0.1 * changed
    again = subprocess.run(
        [str(jax_python), str(TPU / "merge.py"), str(adapter), str(merged)], capture_output=True, text=True, check=False
    )
    assert (again.returncode, "is there already" in again.stderr) == (64, True)


@pytest.mark.soak
def test_the_demo_learns_the_new_form(demo_model: Path, train_all: Runs, jax_python: Path) -> None:
    """SmolLM2-135M answers questions it has not seen in the form of the demo, after the steps of the torch trainer."""
    demo = TPU.parent / "demo"
    given = {"model": str(demo_model), "data": {"path": str(demo / "capitals.jsonl")}, "method": "qlora", "lr": 1e-3}
    run = train_all({"demo": {**given, "max_steps": 16, "sequence_length": 256}})["demo"]
    assert run.code == 0, run.stderr[-2000:]
    command = [jax_python, TPU / "ask.py", "--model", demo_model, "--adapter", run.folder / "output"]
    command += ["--questions", demo / "unseen.jsonl", "--max-tokens", "24"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
    assert len(answers) == 10
    assert sum(re.fullmatch(r"ANSWER: .+; COUNTRY: .+\.", answer) is not None for answer in answers) >= 8, answers
