"""A job that must fail is told so before anything is made: one sentence, what to do instead, exit 2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.state.store import LocalFolder
from tests.conftest import Result

CONFIGS = Path(__file__).parent.parent / "cases" / "configs"
Command = Callable[..., Result]
CHAT = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
PLAIN = {"prompt": "hello", "completion": " good day"}
LLAMA = {
    **{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32},
    **{"num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False},
}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, this_machine: Callable[..., None]) -> Path:
    """A folder with rows of a chat, as working folder, in a terminal of 80 columns; no token and no weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "chat.jsonl").write_text(json.dumps(CHAT) + "\n")
    this_machine(cores=64, memory_gib=2000)
    return tmp_path


def model(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any] | None = None) -> str:
    """A folder with a config.json and, where one is given, a tokenizer's."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return str(folder)


def refused(cloudtrain: Command, desk: Path, own_world: Path, *words: str) -> list[str]:
    """The two lines of a refusal: the error and what to do. Nothing has been made anywhere."""
    told: list[list[str]] = []
    for place in ("local", "runpod"):
        result = cloudtrain("up", "--dry-run", "--infra", place, *words)
        assert (result.code, result.out) == (2, "")
        told.append(result.err.splitlines())
    assert told[0] == told[1]  # local and rented alike
    assert LocalFolder(own_world / "state").children("runs") == []
    assert not (desk / "cache").exists()
    assert [line.partition(":")[0] for line in told[0]] == ["error", "hint"]
    return told[0]


def test_a_base_model_with_chat_rows_is_refused(cloudtrain: Command, desk: Path, own_world: Path) -> None:
    """As `init` writes it; the model to take instead is named."""
    assert cloudtrain("init", "llama-3.1-8b", "chat.jsonl").code == 0
    error, hint = refused(cloudtrain, desk, own_world)
    assert error.startswith("error: cloudtrain.yaml:5: `meta-llama/Llama-3.1-8B` is a base model without a chat templ")
    assert "`meta-llama/Llama-3.1-8B-Instruct`" in hint


def test_a_folder_without_a_template_names_its_chat_variant(cloudtrain: Command, desk: Path, own_world: Path) -> None:
    """The registry's model of the same sizes is it; with a template, or with plain rows, it is not refused for that."""
    cloudtrain("init", model(desk / "base", LLAMA, {}), "chat.jsonl")
    error, hint = refused(cloudtrain, desk, own_world)
    assert "`base` is a base model without a chat template" in error
    assert "-Instruct`, which has one" in hint
    (desk / "base" / "chat_template.jinja").write_text("{{ messages }}")
    assert "template" not in cloudtrain("up", "--dry-run", "--infra", "runpod").err
    (desk / "base" / "chat_template.jinja").unlink()
    (desk / "chat.jsonl").write_text(json.dumps(PLAIN) + "\n")
    assert "template" not in cloudtrain("up", "--dry-run", "--infra", "runpod").err


@pytest.mark.parametrize(
    ("kept", "reason", "instead"),
    [
        ("A22-llama-gptq", "the weights are published in gptq", "the repository that they were made from"),
        ("A11-mistral-small-3.1", "`mistral3` wraps a language model of type `mistral`", "`mistral-small-24b`"),
        ("A05-kimi-k2.5", "`kimi_k25` wraps a language model", "no class for `kimi_k2` either"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_refused(
    cloudtrain: Command, desk: Path, own_world: Path, kept: str, reason: str, instead: str
) -> None:
    """Packed weights that no method reads, and wrappers that no class takes."""
    cloudtrain("init", str(CONFIGS / kept), "chat.jsonl")
    error, hint = refused(cloudtrain, desk, own_world)
    assert error.startswith("error: cloudtrain.yaml:5: ")
    assert reason in error
    assert instead in hint


def test_a_sequence_beyond_the_positions_is_refused(cloudtrain: Command, desk: Path, own_world: Path) -> None:
    """The line is that of the length."""
    (desk / "cloudtrain.yaml").write_text("model: qwen3-8b\ndata: chat.jsonl\nsequence_length: 65536\n")
    error, hint = refused(cloudtrain, desk, own_world)
    assert error.startswith("error: cloudtrain.yaml:3: a sequence of 65536 tokens")
    assert "40960" in hint


def test_packed_weights_are_refused_for_one_method_alone(cloudtrain: Command, desk: Path, own_world: Path) -> None:
    """QLoRA of gpt-oss; the method that works is named."""
    (desk / "cloudtrain.yaml").write_text("model: gpt-oss-20b\ndata: chat.jsonl\n")
    error, hint = refused(cloudtrain, desk, own_world)
    assert "mxfp4" in error
    assert "take the method lora" in hint


def test_a_gated_model_is_refused_without_a_token(
    cloudtrain: Command, desk: Path, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine too; with a token, or with the weights in the cache, it is not."""
    cloudtrain("init", "meta-llama/Llama-3.1-8B-Instruct", "chat.jsonl")
    result = cloudtrain("up", "--dry-run", "--infra", "local")
    assert result.code == 2
    error, hint = result.err.splitlines()
    assert error.startswith("error: cloudtrain.yaml:5: meta-llama/Llama-3.1-8B-Instruct is gated")
    assert "`hf auth login`" in hint
    assert LocalFolder(own_world / "state").children("runs") == []
    assert not (desk / "cache").exists()
    monkeypatch.setattr("cloudtrain.trainer.environment.ensure", stop_here)
    monkeypatch.setenv("HF_TOKEN", "hf_a_token_of_mine")
    assert cloudtrain("up", "--dry-run", "--infra", "local").err == "error: far enough\n"
    monkeypatch.delenv("HF_TOKEN")
    snapshot = desk / "hub" / "hub" / "models--meta-llama--Llama-3.1-8B-Instruct" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_bytes(b"")
    assert cloudtrain("up", "--dry-run", "--infra", "local").err == "error: far enough\n"


def stop_here(*_: object) -> None:
    """In place of an environment of gigabytes."""
    from cloudtrain.errors import UsageError

    raise UsageError("far enough", "")


def test_a_quote_of_such_a_folder_says_the_same(cloudtrain: Command, desk: Path) -> None:
    """Exit 3: nothing is viable; of data that needs a template the answer tells, and of a licence."""
    result = cloudtrain("quote", str(CONFIGS / "A22-llama-gptq"))
    assert result.code == 3
    assert "error: no trainer of ours would take this: the weights are published in gptq" in result.err
    result = cloudtrain("quote", "llama-3.1-8b", "--data", "chat.jsonl", "--infra", "runpod")
    assert result.code == 0
    assert "runpod key, licence: " in result.out
    assert "take `meta-llama/Llama-3.1-8B-Instruct`" in " ".join(result.out.split())
