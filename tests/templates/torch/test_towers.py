"""A model that comes with a part for pictures: its language model alone is trained, and fits the model as published."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from cloudtrain.models import config
from tests.templates.conftest import ONE_THREAD, TORCH, Bench

pytestmark = pytest.mark.trainer

WITH_A_TOWER = """
import sys, torch
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration
source, target = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
torch.manual_seed(0)
text = {"vocab_size": len(tokenizer) + 8, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 512}
vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14}
config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=len(tokenizer))
Gemma3ForConditionalGeneration(config).to(torch.bfloat16).save_pretrained(target)
tokenizer.save_pretrained(target)
"""
KEYS = """
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], "pt") as file:
    print(json.dumps(list(file.keys())))
"""


@pytest.fixture(scope="module")
def model(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Gemma 3 as Google publishes the larger ones."""
    folder = tmp_path_factory.mktemp("towers") / "model"
    subprocess.run([bench.python, "-c", WITH_A_TOWER, bench.model, folder], check=True, capture_output=True)
    return folder


def names_in(bench: Bench, file: Path) -> list[str]:
    """Names of the tensors in a file."""
    done = subprocess.run([bench.python, "-c", KEYS, file], check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_adapters_keep_to_the_language_model(bench: Bench, model: Path, tmp_path: Path) -> None:
    """All linear layers: as many weights as our count says, none on the tower, and a merge into the whole model."""
    ended = bench.train(tmp_path, model=str(model), method="lora", max_steps=2)
    assert ended.code == 0, (ended.events[-2:], ended.stderr[-1500:])
    spec = config.read(model)
    loaded = ended.one("loaded")
    assert loaded["trainable"] == spec.params_lora(16, "all-linear")
    assert loaded["total"] == spec.params_total + loaded["trainable"]
    adapted = names_in(bench, tmp_path / "output" / "adapter_model.safetensors")
    assert adapted
    assert all(".model.language_model.layers." in name for name in adapted)
    merged = tmp_path / "merged"
    words = [bench.python, TORCH / "merge.py", tmp_path / "output", merged]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any("vision_tower" in name for name in names_in(bench, merged / "model.safetensors"))
