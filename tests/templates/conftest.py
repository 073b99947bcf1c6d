"""Real training runs of a two-layer model with the demo model's tokenizer, and the trainer's own modules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cloudtrain import backends
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import (
    TEMPLATES,
    demo_model,
    jax_python,
    longcat_python,
    trainer_python,
    warm_cache,
    warm_longcat,
    warm_python,
)

__all__ = ["demo_model", "jax_python", "longcat_python", "trainer_python", "warm_cache", "warm_longcat", "warm_python"]
TORCH, COMMON = TEMPLATES / "torch", TEMPLATES / "common"
sys.path[:0] = [str(TORCH), str(COMMON)]  # the trainer's modules import each other by plain names

PLACES = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Japan": "Tokyo", "Peru": "Lima", "Kenya": "Nairobi"}
# As the launcher starts the trainer, but with one thread: a two-layer model does not repay a second one.
ONE_THREAD = {**os.environ, **backends.of_flavour("cpu").variables("cpu"), "OMP_NUM_THREADS": "1"}
WITH_ITS_MODULES = {**ONE_THREAD, "PYTHONPATH": f"{TORCH}:{COMMON}"}  # for programs of the tests' own


def conversation(question: str, answer: str) -> dict[str, Any]:
    """A training row of two turns."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSON lines file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@dataclass
class Ended:
    """A finished trainer process: exit code, events, and where things are."""

    code: int
    events: list[dict[str, Any]]
    folder: Path
    stderr: str = field(repr=False)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [found for found in self.events if found["event"] == event]

    def one(self, event: str) -> dict[str, Any]:
        """The only event of its kind."""
        found = self.of(event)
        assert len(found) == 1, (event, self.events[-3:], self.stderr[-2000:])
        return found[0]

    @property
    def losses(self) -> dict[int, float]:
        """Loss by step."""
        return {event["step"]: event["loss"] for event in self.of("step")}


class Bench:
    """Starts trainers on the tiny model: in forks of a warm interpreter, or as processes of the real one."""

    def __init__(self, python: Path, real: Path, model: Path, data: Path) -> None:
        self.python, self.real, self.model, self.data = python, real, model, data

    def job(self, folder: Path, **changes: Any) -> Path:
        """A job file in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "model": str(self.model),
            "method": "lora",
            "data": {"path": str(self.data)},
            "sequence_length": 128,
            "micro_batch": 1,
            "max_steps": 6,
            "lr": 5e-3,
            "checkpoint": {"folder": str(folder / "ckpt"), "every_s": 600},
            "output": str(folder / "output"),
            **changes,
        }
        path = folder / "job.json"
        path.write_text(json.dumps(document))
        return path

    def start(
        self, job: Path, real: bool = False, instead: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[str]:
        """A running trainer; `instead` are the interpreter's arguments of a program that starts it its own way."""
        command = [str(self.real if real else self.python), *(instead or (str(TORCH / "train.py"), str(job)))]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, env=ONE_THREAD, **{**pipes, **options})

    def train(self, folder: Path, real: bool = False, **changes: Any) -> Ended:
        """Run a job to its end."""
        return self.wait(self.start(self.job(folder, **changes), real), folder)

    def wait(self, process: subprocess.Popen[str], folder: Path, heard: list[dict[str, Any]] | None = None) -> Ended:
        """Wait for a trainer's end."""
        out, err = process.communicate(timeout=PATIENCE_S)
        events = [json.loads(line) for line in out.splitlines()]
        return Ended(process.returncode, (heard or []) + events, folder, err)

    def until_step(self, process: subprocess.Popen[str], step: int, number: signal.Signals, folder: Path) -> Ended:
        """Send a signal as soon as the trainer has reported that step, and wait for its end."""
        heard: list[dict[str, Any]] = []
        assert process.stdout is not None
        for line in process.stdout:
            heard.append(json.loads(line))
            if heard[-1]["event"] == "step" and heard[-1]["step"] >= step:
                break
        process.send_signal(number)
        return self.wait(process, folder, heard)


def resumed_in_other_splits(bench: Bench, folder: Path, **changes: Any) -> None:
    """A run whose steps of four sequences are split up otherwise after each stop makes the steps of one that is not."""
    whole = bench.train(folder / "whole", micro_batch=4, **changes)
    assert whole.code == 0, whole.stderr[-2000:]
    parts = []
    for size, stop in ((1, 2), (4, 4), (2, None)):
        job = bench.job(folder / "split", micro_batch=size, grad_accum=4 // size, **changes)
        started = bench.start(job)
        parts.append(
            bench.until_step(started, stop, signal.SIGTERM, folder / "split")
            if stop
            else bench.wait(started, folder / "split")
        )
    assert [part.code for part in parts] == [75, 75, 0], parts[-1].stderr[-2000:]
    assert parts[1].one("start")["resumed_from"] > 0
    assert parts[2].one("start")["resumed_from"] > parts[1].one("start")["resumed_from"]
    steps = {event["step"]: event for part in parts for event in part.of("step")}
    assert list(steps) == [event["step"] for event in whole.of("step")]
    assert [steps[event["step"]]["tokens"] for event in whole.of("step")] == [e["tokens"] for e in whole.of("step")]
    assert [event["loss"] for event in steps.values()] == pytest.approx(list(whole.losses.values()), rel=0.02)


TINY = """
import sys, torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
source, target = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
torch.manual_seed(0)
config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    bos_token_id=1, eos_token_id=2, pad_token_id=2)
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
tokenizer.save_pretrained(target)
"""


@pytest.fixture(scope="session")
def tiny_model(warm_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers, with a real tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    subprocess.run([warm_python, "-c", TINY, demo_model, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def bench(warm_python: Path, trainer_python: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A place to train the tiny model on 24 short conversations."""
    rows = [
        conversation(f"{asked} the capital of {country}?", f"It is {city}, in {country}.")
        for asked in ("What is", "Which city is", "Do you know", "Name")
        for country, city in PLACES.items()
    ]
    data = write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", rows)
    return Bench(warm_python, trainer_python, tiny_model, data)


@pytest.fixture(scope="session")
def ask(warm_python: Path) -> Callable[..., list[dict[str, str]]]:
    """Questions of a file to a model, with an adapter or without."""

    def call(model: Path, questions: Path, adapter: Path | None = None) -> list[dict[str, str]]:
        command = [str(warm_python), str(TORCH / "ask.py"), "--model", str(model), "--questions", str(questions)]
        command += ["--max-tokens", "24"]  # more than an answer in the form needs
        command += [] if adapter is None else ["--adapter", str(adapter)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call
