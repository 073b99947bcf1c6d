"""A name that is no model here is answered with what helps, and with near names of like size alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from cloudtrain.models.unknown import sizes


def hint(text: str) -> str:
    """What is said to a name."""
    with pytest.raises(UsageError) as caught:
        registry.find(text)
    return caught.value.hint


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No download is at hand."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "kept"))


@pytest.mark.parametrize(
    "hub_id",
    [
        *("Qwen/Qwen2.5-3B-Instruct", "google/gemma-2-27b-it", "microsoft/Phi-4-mini-instruct"),
        *("mistralai/Mistral-7B-Instruct-v0.2", "meta-llama/Llama-2-13b-hf", "TheBloke/Llama-2-7B-GPTQ"),
        *("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "unsloth/llama-3-8b-bnb-4bit", "nobody/nothing"),
    ],
)
def test_a_hub_id_is_answered_with_the_command_that_fetches_its_config(hub_id: str) -> None:
    """And with no other model: none of these is a typing error."""
    said = hint(hub_id)
    assert f"`hf download {hub_id} config.json`" in said
    assert "did you mean" not in said


def test_a_typing_error_in_a_hub_id_is_found() -> None:
    """The same numbers, nearly the same letters; the command is told too."""
    said = hint("Qwen/Qwen3-8b-Bas")
    assert "did you mean `Qwen/Qwen3-8B-Base`?" in said
    assert "hf download Qwen/Qwen3-8b-Bas config.json" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://huggingface.co/Qwen/Qwen3-8B/tree/main", "write `Qwen/Qwen3-8B`"),
        ("hf.co/Qwen/Qwen3-8B", "write `Qwen/Qwen3-8B`"),
        ("hf://Qwen/Qwen3-8B", "write `Qwen/Qwen3-8B`"),
        ("https://a-mirror.com/Qwen/Qwen3-8B", "write `Qwen/Qwen3-8B`"),
        ("Qwen/Qwen3-8B@abc123", "`revision: abc123`"),
        ("bartowski/Qwen2.5-7B-Instruct-GGUF", "did you mean `Qwen/Qwen2.5-7B-Instruct`?"),
        ("model-q4.gguf", "GGUF files are for inference"),
        ("llama3.1:8b", "did you mean `llama3.1-8b`?"),
        ("qwen2.5:7b-instruct-q4_K_M", "did you mean `qwen2.5-7b`?"),
        ("mistral:latest", "a tag of Ollama"),
    ],
)
def test_other_ways_to_name_a_model_get_a_fitting_sentence(text: str, words: str) -> None:
    """Addresses, revisions, GGUF files, tags of Ollama."""
    assert words in hint(text)


def test_a_near_name_has_the_same_size() -> None:
    """A 3B is never answered with a 32B."""
    assert "did you mean" not in hint("qwen3-3b")
    assert "`longcat-flash`" in hint("longcat-flahs")
    assert sizes("Llama-3.1-8B-Instruct") == sizes("llama3.1-8b") == {"8b"}
    assert sizes("mixtral-8x7b") == {"8x7b"}
    assert sizes("phi-4") == sizes("model-v2beta") == set()
