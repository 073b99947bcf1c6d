"""Why the trainer would refuse a model: its class, its weights' format, its positions, its template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.models import config, loadable, registry
from cloudtrain.models.spec import ModelSpec

SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


def folder(path: Path, **keys: Any) -> ModelSpec:
    """A model read from a config.json."""
    (path / "config.json").write_text(json.dumps(keys))
    return config.read(path)


def test_a_usual_model_is_refused_for_nothing() -> None:
    """LongCat, and a Llama as long as it is."""
    assert loadable.refusals(registry.find("longcat-flash"), "qlora", 2048) == ()
    assert loadable.refusals(registry.find("llama-2-7b"), "full", 4096) == ()


@pytest.mark.parametrize(
    ("wrapper", "keys"),
    [
        ("mistral3", {"text_config": {**SMALL, "model_type": "mistral"}, "vision_config": {}}),
        ("llava", {"text_config": {**SMALL, "model_type": "llama"}}),
        ("internvl_chat", {"llm_config": {**SMALL, "model_type": "qwen2"}, "vision_config": {}}),
        ("qwen2_5_vl", {**SMALL, "vision_config": {}}),
        ("kimi_k25", {"text_config": {**SMALL, "model_type": "qwen3"}}),
    ],
)
@pytest.mark.parametrize("backend", ["torch-cpu", "rocm", "mlx", "tpu"])
def test_a_wrapper_without_a_class_is_refused_with_its_language_model(
    wrapper: str, keys: dict[str, Any], backend: str, tmp_path: Path
) -> None:
    """On every back end; the reason names both types."""
    spec = folder(tmp_path, model_type=wrapper, **keys)
    (refusal,) = loadable.refusals(spec, "lora", 512, backend)
    assert refusal.kind == "class"
    assert f"`{wrapper}`" in refusal.reason
    assert f"`{spec.published.text_type}`" in refusal.reason
    assert refusal.hint


@pytest.mark.parametrize("wrapper", ["gemma3", "gemma4", "qwen3_5", "llama4"])
def test_a_wrapper_that_the_trainer_takes_is_not_refused(wrapper: str, tmp_path: Path) -> None:
    """AutoModelForCausalLM has a class for it, with its towers or without."""
    sizes = {**SMALL, "head_dim": 16, "num_key_value_heads": 2, "model_type": f"{wrapper}_text"}
    assert loadable.refusals(folder(tmp_path, model_type=wrapper, text_config=sizes), "lora", 512) == ()


def test_the_registrys_model_of_the_same_sizes_is_named(tmp_path: Path) -> None:
    """Mistral Small 3.1 holds the language model of Mistral Small 24B."""
    text = {"model_type": "mistral", "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 32}
    text |= {"num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 32768, "vocab_size": 131072}
    (refusal,) = loadable.refusals(folder(tmp_path, model_type="mistral3", text_config=text), "lora", 512)
    assert "`mistral-small-24b`" in refusal.hint


def test_a_class_that_only_the_repositorys_own_code_has_is_refused() -> None:
    """Kimi K2 names a type that transformers has not; mlx-lm has it."""
    spec = registry.find("kimi-k2")
    assert [refusal.kind for refusal in loadable.refusals(spec, "lora", 512)] == ["class"]
    assert [refusal.kind for refusal in loadable.refusals(spec, "lora", 512, "mlx")] == []


@pytest.mark.parametrize(
    ("name", "packed"), [("gpt-oss-20b", "mxfp4"), ("deepseek-v3", "fp8"), ("Qwen/Qwen3-8B-FP8", "fp8")]
)
def test_packed_weights_are_refused_or_unpacked(name: str, packed: str) -> None:
    """QLoRA cannot load them; LoRA unpacks them first, with both sizes said."""
    spec = registry.find(name)
    (refusal,) = loadable.refusals(spec, "qlora", 512)
    assert refusal.kind == "format"
    assert packed in refusal.reason
    assert "the method lora" in refusal.hint
    assert loadable.refusals(spec, "lora", 512) == ()
    (remark,) = loadable.remarks(spec, "lora")
    assert packed in remark
    assert spec.published_bytes < spec.weights_bytes("bf16")


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    """With the length that would do; ids of one row may differ."""
    (refusal,) = loadable.refusals(registry.find("meta-llama/Meta-Llama-3-8B"), "qlora", 8193)
    assert refusal.kind == "context"
    assert "8192" in refusal.hint
    assert loadable.refusals(registry.find("meta-llama/Llama-3.1-8B"), "qlora", 8193) == ()


def test_every_row_of_the_registry_says_what_its_repository_is() -> None:
    """Positions are known but for one model, formats are those that the tables know, ids are those of the row."""
    rows = list(registry._rows())
    for row in rows:
        for cell in (row["format"], row["positions"]):
            ids = [part.partition("=")[0] for part in cell.split("|") if "=" in part]
            assert set(ids) <= set(registry._names(row))
    assert [row["name"] for row in rows if row["positions"] == "0"] == ["longcat-flash-lite"]
    assert {row["gated"] for row in rows} == {"yes", "no"}
