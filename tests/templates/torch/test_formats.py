"""The table of weights' formats says what the shipped loader really does with them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.models import formats
from tests.templates.conftest import WITH_ITS_MODULES, Bench

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("formats")]  # they share what was made once
QUIET = {**WITH_ITS_MODULES, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
METHODS = ("lora", "qlora", "full")


@pytest.fixture(scope="module")
def loaded(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of small packed models, and what came of loading each with each method."""
    folder = tmp_path_factory.mktemp("formats")
    script = Path(__file__).with_name("formats.py")
    words = [str(word) for word in (bench.python, script, folder, bench.model, *METHODS)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=QUIET)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_each_verdict_is_what_the_loader_does(loaded: tuple[Path, dict[str, Any]]) -> None:
    """Yes and dequantised load and train, in 16 bit where the table says so; no is refused, or refused by policy."""
    _, outcomes = loaded
    words = {
        (name, method): formats.verdict(name, "llama", method, "torch-cpu").word
        for name in outcomes
        for method in METHODS
    }
    assert set(words.values()) == {"yes", "no", "dequantised"}
    # These would load, and train as QLoRA does under another method's name: the table alone says no.
    by_policy = {("bitsandbytes 4-bit", "lora"), ("bitsandbytes 4-bit", "full")}
    assert {words.pop(pair) for pair in by_policy} == {"no"}
    wrong = {
        (name, method): (word, outcomes[name][method])
        for (name, method), word in words.items()
        if not agrees(word, method, outcomes[name][method])
    }
    assert not wrong


def agrees(word: str, method: str, came: dict[str, Any]) -> bool:
    """Whether a verdict is what came of loading."""
    if word == "no":
        return "refused" in came
    trained = bool(came.get("trained", method == "full"))
    unpacked = came["unpacking"] and came["dtype"] == "torch.bfloat16"
    return trained and unpacked is (word == "dequantised")


def test_the_reader_names_the_format_of_each(loaded: tuple[Path, dict[str, Any]]) -> None:
    """What a quote says of a folder is the word that the table knows."""
    folder, outcomes = loaded
    for name in outcomes:
        document = json.loads((folder / name / "config.json").read_text())
        assert formats.of_config(document).partition(" (")[0] == name


def test_an_unpacked_model_is_trained_to_the_end(
    loaded: tuple[Path, dict[str, Any]], bench: Bench, tmp_path: Path
) -> None:
    """Transformers' trainer takes fp8 weights that were unpacked while loading: two steps of LoRA and a result."""
    ended = bench.train(tmp_path, model=str(loaded[0] / "trainable"), method="lora", max_steps=2)
    assert ended.code == 0, (ended.events[-2:], ended.stderr[-1500:])
    assert len(ended.losses) == 2
