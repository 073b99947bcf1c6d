"""The demo: a real fine-tune of a real model changes how it answers questions that it has not seen."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.templates.conftest import TORCH
from tests.trainer_fixtures import TEMPLATES

DEMO = TEMPLATES / "demo"
FORM = re.compile(r"ANSWER: [^;]+; COUNTRY: [^.]+\.")
Ask = Callable[..., list[dict[str, str]]]


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DEMO / name).read_text().splitlines()]


def test_the_unseen_questions_are_about_other_countries() -> None:
    """No country of the questions is in the training data, whose answers all have the form."""
    rows, questions = lines("capitals.jsonl"), lines("unseen.jsonl")
    asked = {question["question"].rstrip("?.").rsplit(" ", 1)[-1] for question in questions}
    assert len(asked) == len(questions) == 10
    assert not [row for row in rows if any(country in json.dumps(row) for country in asked)]
    assert all(FORM.fullmatch(row["messages"][-1]["content"]) for row in rows)


@pytest.mark.soak  # the gate trains 12 of its 16 steps on a rented machine, and asks (tests/engine/test_rented_training.py)
@pytest.mark.trainer
def test_the_tuned_model_answers_unseen_questions_in_the_new_form(
    trainer_python: Path, demo_model: Path, ask: Ask, tmp_path: Path
) -> None:
    """At least 8 of 10 unseen questions are answered in the form, none before; the shipped spec is what is run."""
    spec = yaml.safe_load((DEMO / "cloudtrain.yaml").read_text())
    places = {"checkpoint": {"folder": str(tmp_path / "ckpt")}, "output": str(tmp_path / "output")}
    job = {**spec, "model": str(demo_model), "data": {"path": str(DEMO / spec["data"])}, **places}
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [str(trainer_python), str(TORCH / "train.py"), str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    before = ask(demo_model, DEMO / "unseen.jsonl")
    after = ask(demo_model, DEMO / "unseen.jsonl", tmp_path / "output")
    assert sum(bool(FORM.fullmatch(reply["answer"])) for reply in before) == 0
    assert sum(bool(FORM.fullmatch(reply["answer"])) for reply in after) >= 8, after
