"""The registry: exact counts, and every way to name a model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry

EXPECTED = {
    row["name"]: row
    for row in csv.DictReader((Path(__file__).parent / "data" / "counts.csv").read_text(encoding="utf-8").splitlines())
}


def test_the_registry_holds_the_47_published_models() -> None:
    """Every model with published counts is in the registry, and no other."""
    assert [spec.name for spec in registry.all_models()] == list(EXPECTED)
    assert len(EXPECTED) == 47


@pytest.mark.parametrize("name", EXPECTED)
def test_counts_equal_the_published_ones_to_the_unit(name: str) -> None:
    """All parameter counts computed from the shapes equal those of the instantiated models."""
    spec, row = registry.find(name), EXPECTED[name]
    computed = {
        "params_total": spec.params_total,
        "params_active_min": spec.params_active_min,
        "params_active_avg": spec.params_active,
        "params_active_max": spec.params_active_max,
        "matmul_params_per_token": spec.matmul_params_per_token,
        "embedding_params": spec.params_embedding,
        "expert_params": spec.params_experts,
        "lora_r16_peft_all_linear": spec.params_lora(16, "all-linear"),
        "lora_r16_attention_only": spec.params_lora(16, "attention"),
    }
    assert computed == {key: int(row[key]) for key in computed}


@pytest.mark.parametrize("name", EXPECTED)
def test_weights_take_the_published_bytes(name: str) -> None:
    """bfloat16 and NF4 weights have the published sizes, to the two digits printed there."""
    spec, row = registry.find(name), EXPECTED[name]
    assert spec.weights_bytes("bf16") / 1e9 == pytest.approx(float(row["weights_bf16_gb"]), abs=0.0051)
    assert spec.weights_bytes("nf4") / 1e9 == pytest.approx(float(row["weights_nf4_gb"]), abs=0.011)


@pytest.mark.parametrize(
    ("text", "name", "hub_id"),
    [
        ("meituan-longcat/LongCat-Flash-Chat", "longcat-flash", "meituan-longcat/LongCat-Flash-Chat"),
        ("MEITUAN-LONGCAT/longcat-flash-chat", "longcat-flash", "meituan-longcat/LongCat-Flash-Chat"),
        ("llama3.1-8b", "llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        (" Llama-3.1-8B ", "llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("huggingfacetb/smollm2-135m-instruct", "smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_a_model_is_found_by_name_alias_and_hub_id(text: str, name: str, hub_id: str) -> None:
    """Case is ignored, and a hub id keeps its own spelling so that the instruct model stays the instruct model."""
    spec = registry.find(text)
    assert (spec.name, spec.hub_id, spec.path) == (name, hub_id, "")


def test_no_name_means_two_models() -> None:
    """Every name, hub id and alias belongs to one model."""
    names = [name.lower() for row in registry._rows() for name in registry._names(row)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "text", ["longcat-flahs", "", "   ", "nobody/nothing", "x" * 5000, "a\0b", "a/../b", "é/ü", "--help"]
)
def test_an_unknown_model_is_refused_in_a_sentence(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the text, the answer is a UsageError with a hint and never a traceback."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        registry.find(text)
    assert caught.value.message
    assert caught.value.hint


def test_the_nearest_name_is_offered() -> None:
    """A typing error is answered with the name that was meant."""
    with pytest.raises(UsageError, match="unknown model `longcat-flahs`") as caught:
        registry.find("longcat-flahs")
    assert "`longcat-flash`" in caught.value.hint


LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 100,
}


def test_a_folder_is_read_and_keeps_its_path(tmp_path: Path) -> None:
    """A path, with or without a slash at its end, is a model with its folder's name."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    for text in (str(tmp_path), f"{tmp_path}/", str(tmp_path / "config.json")):
        spec = registry.find(text)
        assert (spec.name, Path(spec.path)) == (tmp_path.name, tmp_path)


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "HOME"])
def test_a_cached_hub_id_is_found_and_the_newest_snapshot_wins(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The local Hugging Face cache is looked into wherever its variables put it."""
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    hub = {"HF_HUB_CACHE": tmp_path, "HF_HOME": tmp_path / "hub", "HOME": tmp_path / ".cache" / "huggingface" / "hub"}
    snapshot = hub[variable] / "models--somebody--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(LLAMA))
    spec = registry.find("somebody/model")
    assert (spec.name, spec.hub_id, Path(spec.path)) == ("somebody/model", "somebody/model", snapshot)


def test_no_home_does_not_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any home directory the registry still answers."""
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert registry.find("longcat-flash").family == "longcat_flash"
    with pytest.raises(UsageError, match="unknown model"):
        registry.find("somebody/model")
