"""The LongCat recipe: its own pinned packages, the same trainer, on a tiny copy with the official layout."""

from __future__ import annotations

import json
import re
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.templates.conftest import TORCH, WITH_ITS_MODULES, Bench, resumed_in_other_splits

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("longcat")]  # they share what was trained once
TINY = """
import sys, torch
from transformers import LongcatFlashConfig, LongcatFlashForCausalLM, PreTrainedTokenizerFast
source, target = sys.argv[1:]
special = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
tokenizer = PreTrainedTokenizerFast(tokenizer_file=source + "/tokenizer.json", **special)
tokenizer.chat_template = open(source + "/chat_template.jinja").read()
torch.manual_seed(0)
config = LongcatFlashConfig(vocab_size=49152, hidden_size=64, num_layers=2, ffn_hidden_size=128, moe_topk=2,
    expert_ffn_hidden_size=64, num_attention_heads=4, kv_lora_rank=64, q_lora_rank=64, qk_rope_head_dim=16,
    head_dim=16, qk_nope_head_dim=16, v_head_dim=32, n_routed_experts=4, zero_expert_num=2,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2)
LongcatFlashForCausalLM(config).to(torch.bfloat16).save_pretrained(target)
tokenizer.save_pretrained(target)
"""
KINDS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import loading, job
from bitsandbytes.nn import Linear4bit
places = {"data": job.Data("/d"), "checkpoint": job.Checkpoint("/c"), "output": "/o"}
model = loading.load_model(job.Job(model=sys.argv[2], sequence_length=128, **places))
kinds = {name: isinstance(module, Linear4bit) for name, module in model.named_modules() if hasattr(module, "in_features")}
print(json.dumps({"experts": all(v for k, v in kinds.items() if ".experts." in k), "routers":
    [v for k, v in kinds.items() if "router" in k], "heads": [v for k, v in kinds.items() if "lm_head" in k]}))
"""
# The names in the published checkpoint, numbers left out (its multi-token-prediction layer is not loaded).
OFFICIAL = {
    "model.embed_tokens.weight",
    "model.norm.weight",
    "lm_head.weight",
    *(f"model.layers.#.{norm}.#.weight" for norm in ("input_layernorm", "post_attention_layernorm")),
    *(
        f"model.layers.#.self_attn.#.{part}.weight"
        for part in (
            "q_a_proj",
            "q_a_layernorm",
            "q_b_proj",
            "kv_a_proj_with_mqa",
            "kv_a_layernorm",
            "kv_b_proj",
            "o_proj",
        )
    ),
    *(f"model.layers.#.mlps.#.{part}_proj.weight" for part in ("gate", "up", "down")),
    *(f"model.layers.#.mlp.experts.#.{part}_proj.weight" for part in ("gate", "up", "down")),
    "model.layers.#.mlp.router.classifier.weight",
    "model.layers.#.mlp.router.e_score_correction_bias",
}


def out_of(*command: Any) -> dict[str, Any]:
    """The JSON document that a program prints last."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=WITH_ITS_MODULES)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def longcat(
    warm_longcat: Path, longcat_python: Path, demo_model: Path, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """A place to train a LongCat-Flash of two layers and four experts."""
    folder = tmp_path_factory.mktemp("longcat") / "model"
    subprocess.run([warm_longcat, "-c", TINY, demo_model, folder], check=True, capture_output=True)
    return Bench(warm_longcat, longcat_python, folder, bench.data)


def test_the_tiny_copy_is_laid_out_like_the_published_checkpoint(longcat: Bench) -> None:
    """Every tensor has the name that it has there, so loading it is loading that one in small."""
    with (longcat.model / "model.safetensors").open("rb") as file:
        names = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    assert {re.sub(r"(?<=\.)\d+(?=\.)", "#", name) for name in names if name != "__metadata__"} == OFFICIAL


def test_experts_are_4_bit_and_routers_are_not(longcat: Bench) -> None:
    """Every expert is quantised, which is what makes it fit; router and head are left in bf16, without which it fails."""
    kinds = out_of(longcat.python, "-c", KINDS, TORCH, longcat.model)
    assert kinds["experts"]
    assert kinds["routers"]
    assert not any(kinds["routers"] + kinds["heads"])


def test_it_trains_on_attention_and_dense_layers(longcat: Bench, tmp_path: Path) -> None:
    """A qlora run with evaluations finishes; no adapter is on an expert or a router."""
    ended = longcat.train(tmp_path, method="qlora", data={"path": str(longcat.data), "eval_fraction": 0.2})
    assert ended.code == 0, ended.stderr[-3000:]
    assert ended.losses[6] < ended.losses[1]
    targets = json.loads((tmp_path / "output" / "adapter_config.json").read_text())["target_modules"]
    assert {"q_b_proj", "kv_b_proj", "o_proj", "mlps.0.gate_proj", "mlps.1.down_proj"} <= set(targets)
    assert not [name for name in targets if "expert" in name or "classifier" in name]


def test_a_stopped_run_with_attention_adapters_resumes_to_equal_losses(longcat: Bench, tmp_path: Path) -> None:
    """4-bit weights, adapters on attention alone, evaluations on the way: the losses are those of a run never stopped."""
    settings: dict[str, Any] = {
        "method": "qlora",
        "lora": {"targets": "attention"},
        "data": {"path": str(longcat.data), "eval_fraction": 0.2},
        "eval": {"every_steps": 3},
    }
    whole = longcat.train(tmp_path / "whole", **settings)
    assert whole.code == 0, whole.stderr[-3000:]
    job = longcat.job(tmp_path / "stopped", **settings)
    stopped = longcat.until_step(longcat.start(job), 2, signal.SIGTERM, tmp_path / "stopped")
    assert stopped.code == 75, stopped.stderr[-3000:]
    resumed = longcat.wait(longcat.start(job), tmp_path / "stopped")
    assert resumed.code == 0, resumed.stderr[-3000:]
    assert resumed.one("start")["resumed_from"] == stopped.of("checkpoint")[-1]["step"] > 0
    assert {**stopped.losses, **resumed.losses} == whole.losses
    assert sorted(whole.losses) == [1, 2, 3, 4, 5, 6]
    told = {event["step"]: event["loss"] for part in (stopped, resumed) for event in part.of("eval")}
    every = {event["step"]: event["loss"] for event in whole.of("eval")}
    assert list(every) == [3, 6]
    assert told.items() <= every.items()  # a stop does not wait for the evaluation of its step
    assert 6 in told
    targets = json.loads((tmp_path / "stopped" / "output" / "adapter_config.json").read_text())["target_modules"]
    assert {str(name).split(".")[-1] for name in targets} == {
        "q_a_proj",
        "q_b_proj",
        "kv_a_proj_with_mqa",
        "kv_b_proj",
        "o_proj",
    }


def test_it_resumes_in_other_micro_batches(longcat: Bench, tmp_path: Path) -> None:
    """Its transformers would go on with the checkpoint's size at once, and as many of these a step as this job says."""
    resumed_in_other_splits(longcat, tmp_path, method="qlora", lora={"targets": "attention"})


def test_its_packing_and_gradients_are_sound(longcat: Bench, tmp_path: Path) -> None:
    """On the older packages too, packed documents stay apart and an evaluation leaves the gradients as they were."""
    probe = Path(__file__).with_name("probe.py")
    names = ("isolation", "change_with_the_switch_off")
    found = out_of(longcat.python, probe, longcat.model, longcat.model, longcat.data, tmp_path, *names)
    assert found["isolation"]["difference"] < 1e-4
    assert found["isolation"]["difference_when_mixed"] > 1e-3
    assert found["change_with_the_switch_off"] == 0.0


def test_kept_4_bit_weights_train_to_the_very_losses(longcat: Bench, tmp_path: Path) -> None:
    """Experts and router too: from the pieces of a first run, without its published weights, every loss is the same."""
    settings: dict[str, Any] = {
        "method": "qlora",
        "max_steps": 3,
        "quantised": {"folder": str(tmp_path / "kept"), "model": "longcat", "piece_bytes": 40_000},
    }
    first = longcat.train(tmp_path / "first", **settings)
    bare = tmp_path / "without-weights"
    shutil.copytree(longcat.model, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    second = longcat.train(tmp_path / "second", **settings, model=str(bare))
    assert (first.code, second.code) == (0, 0), second.stderr[-3000:]
    assert "4-bit weights: taken from" in second.stderr
    assert first.losses == second.losses
