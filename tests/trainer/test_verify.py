"""--verify: what is asked of the proving programs, what is made of their answers, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.estimate.options import Options, checked
from cloudtrain.models import config, registry
from cloudtrain.providers import PriceSource, load
from cloudtrain.quote import recipes
from cloudtrain.trainer import environment, verify
from cloudtrain.units import GIB, gib
from tests.conftest import Result

TORCH_ANSWER = {
    "peak_bytes": 3 * GIB,
    "phase": "backward",
    "parts": {"weights": GIB, "gradients": 0, "optimizer": GIB, "activations": GIB, "workspace": 0},
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
}
OVERFLOW = {
    "peak": 20 * GIB,
    "fits": False,
    "available": 16 * GIB,
    "versions": {"jax": "0.10.2", "jaxlib": "0.10.2", "libtpu": "0.0.42.1"},
}
MODELS = [spec for spec in registry.all_models() if spec.family != "longcat_flash_ngram"]
TPU = Options(estimator="tpu", chip="tpu-v5e")


def torch_document(model: str, **options: Any) -> dict[str, Any]:
    """What torch_step.py gets."""
    return verify.torch_document(*checked(registry.find(model), Options(**options)))


def tpu_document(model: str, options: Options) -> dict[str, Any]:
    """What the trainer's lowering.py gets."""
    return verify.tpu_document(*checked(registry.find(model), options))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], list[str]]:
    """Put a Python program in the place of the proving ones; it gets the document as `document`."""
    programs = [tmp_path / "verify" / "torch_step.py", tmp_path / "tpu" / "lowering.py"]
    said: list[str] = []

    def put(body: str) -> list[str]:
        for path in programs:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"import json, os, sys\ndocument = json.load(sys.stdin)\n{body}\n")
        monkeypatch.setattr(verify, "files", lambda package: tmp_path)
        monkeypatch.setattr(environment, "ensure", lambda flavour, say: said.append(flavour) or Path(sys.executable))
        return said

    return put


@pytest.mark.parametrize("spec", MODELS, ids=[spec.name for spec in MODELS])
def test_a_configuration_written_from_a_shape_reads_back_alike(spec: Any, tmp_path: Path) -> None:
    """The keys that a registry model is built from mean the same model to the reader of config.json files."""
    (tmp_path / "config.json").write_text(json.dumps(verify.config_keys(spec.shape)))
    again = config.read(tmp_path)
    assert again.params_total == spec.params_total
    assert again.shape._replace(sliding_layers=0) == spec.shape._replace(sliding_layers=0)


def test_a_folders_own_configuration_is_used(tmp_path: Path) -> None:
    """Keys that we do not know reach the program; depth follows --layers, and published quantisation is left out."""
    keys = verify.config_keys(registry.find("gemma-3-1b").shape)
    keys |= {"query_pre_attn_scalar": 7, "quantization_config": {"bits": 8}, "layer_types": ["sliding_attention"] * 26}
    wrapped = {"model_type": "gemma3", "text_config": keys}
    (tmp_path / "config.json").write_text(json.dumps(wrapped))
    document = torch_document(f"{tmp_path}/", layers=4)["config"]
    assert document == {
        **{key: value for key, value in keys.items() if key != "quantization_config"},
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention"] * 4,
    }


def test_adapters_go_where_the_targets_say() -> None:
    """PEFT gets its own names of the matrices: fused, MLA and plain attention differ."""
    names = {
        model: torch_document(model, targets="qv")["options"]["target_modules"] for model in ("qwen3-0.6b", "phi-4")
    }
    assert names == {"qwen3-0.6b": ["q_proj", "v_proj"], "phi-4": ["qkv_proj"]}
    longcat = torch_document("longcat-flash", targets="attention")["options"]
    assert longcat["target_modules"] == ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
    assert (longcat["experts_4bit"], longcat["expert_dequant"]) == (True, "single")
    assert torch_document("qwen3-0.6b")["options"]["target_modules"] == "all-linear"


def test_an_architecture_is_named_as_the_library_names_it() -> None:
    """Gemma 3's language model has a type of its own in transformers."""
    kinds = {model: torch_document(model)["config"]["model_type"] for model in ("gemma-3-1b", "kimi-k2", "phi-4")}
    assert kinds == {"gemma-3-1b": "gemma3_text", "kimi-k2": "deepseek_v3", "phi-4": "phi3"}


def test_a_tpu_step_is_the_trainers_job_for_a_chip() -> None:
    """The model's own configuration, the keys of the job, and a sequence for each chip at least."""
    found = tpu_document("qwen2.5-0.5b", TPU._replace(devices=4, targets="attention", method="lora", rank=8))
    assert (found["generation"], found["devices"]) == ("v5e", 4)
    assert found["config"] == verify.config_keys(registry.find("qwen2.5-0.5b").shape)
    assert (found["job"]["method"], found["job"]["micro_batch"]) == ("lora", 4)
    assert found["job"]["lora"] == {"rank": 8, "dropout": 0.0, "targets": "attention"}
    gemma = tpu_document("gemma-3-1b", TPU._replace(chip="TPU7x", quantisation="int8"))
    assert (gemma["generation"], gemma["job"]["quantisation"]) == ("tpu7x", "int8")


@pytest.mark.parametrize(
    ("model", "options", "part"),
    [
        ("smollm2-135m", Options(devices=8), "only the step of one device can be proven"),
        ("longcat-flash-lite", Options(), "family `longcat_flash_ngram` cannot be proven with PyTorch"),
        ("gpt-oss-20b", Options(experts_4bit=True), "family `gpt_oss` cannot be proven one at a time"),
        ("smollm2-135m", Options(estimator="mlx"), "nothing can prove a step of back end `mlx`"),
        ("smollm2-135m", Options(estimator="tpu"), "compiled for one kind of chip"),
        ("smollm2-135m", TPU._replace(chip="mi300x"), "no step can be compiled for `mi300x`"),
        ("smollm2-135m", TPU._replace(chip="tpu-v2"), "no step can be compiled for `tpu-v2`"),
        ("smollm2-135m", TPU._replace(method="dora"), "a TPU step with method dora cannot be compiled"),
        ("smollm2-135m", TPU._replace(optimizer="adamw8bit"), "a TPU step with optimizer adamw8bit cannot be compiled"),
        ("smollm2-135m", TPU._replace(attention="eager"), "a TPU step with attention eager cannot be compiled"),
    ],
)
def test_what_cannot_be_proven_is_a_sentence_and_starts_nothing(
    program: Callable[[str], list[str]], model: str, options: Options, part: str
) -> None:
    """It names what is in the way, before any environment is made."""
    started = program("")
    with pytest.raises(UsageError, match=part):
        verify.verify(registry.find(model), options, print)
    assert started == []


def test_the_tpu_compiler_needs_its_platform(
    program: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where libtpu has no wheel, that is said instead of an installer's complaint."""
    started = program("")
    monkeypatch.setattr(verify.platform, "machine", lambda: "arm64")
    with pytest.raises(UsageError, match="Linux on x86-64 only"):
        verify.verify(registry.find("smollm2-135m"), TPU, print)
    assert started == []


def test_an_answer_becomes_a_record(program: Callable[[str], list[str]]) -> None:
    """Peak, phase, split and versions are the program's; the environment is the trainer's."""
    assert program(f"print({json.dumps(json.dumps(TORCH_ANSWER))})") == []
    said: list[str] = []
    found = verify.verify(registry.find("smollm2-135m"), Options(), said.append)
    assert (found.peak_bytes, found.phase, found.fits) == (3 * GIB, "backward", None)
    assert found.parts == TORCH_ANSWER["parts"]
    assert found.how == "FakeTensorMode, torch 2.13.0"
    assert said == ["running the step on fake tensors (some seconds to a minute)"]


def test_the_compilers_refusal_is_a_verdict(program: Callable[[str], list[str]]) -> None:
    """Too large for the chip is an answer with both figures, not an error."""
    flavours = program(f"print(json.dumps({OVERFLOW!r}))")
    found = verify.verify(registry.find("smollm2-135m"), TPU, lambda sentence: None)
    assert (found.fits, found.peak_bytes, found.available_bytes) == (False, 20 * GIB, 16 * GIB)
    assert (found.phase, found.how, flavours) == (
        "step",
        "the trainer's own step compiled for tpu-v5e, libtpu 0.0.42.1",
        ["tpu"],
    )


@pytest.mark.parametrize(
    ("body", "kind", "part"),
    [
        ("print(json.dumps({'unsupported': 'no class for `x`'}))", UsageError, "no class for `x`"),
        ("raise RuntimeError('shape trouble')", CloudtrainError, "RuntimeError: shape trouble"),
        ("sys.exit(3)", CloudtrainError, "it printed nothing and ended with 3"),
        ("os.kill(os.getpid(), 9)", CloudtrainError, "the system ended the proof"),
        ("print('no JSON')", CloudtrainError, "could not be proven"),
        ("pass", CloudtrainError, "could not be proven"),
    ],
)
def test_a_failed_proof_says_why(
    program: Callable[[str], list[str]], body: str, kind: type[CloudtrainError], part: str
) -> None:
    """The program's last words are in the message."""
    program(body)
    with pytest.raises(kind, match=part) as failed:
        verify.verify(registry.find("smollm2-135m"), Options(), lambda sentence: None)
    assert type(failed.value) is kind


def test_estimate_shows_the_proof_beside_the_estimate(
    program: Callable[[str], list[str]], cloudtrain: Callable[..., Result]
) -> None:
    """The table has both with the difference, the JSON follows its schema, and without the flag it is null."""
    program(f"print(json.dumps({TORCH_ANSWER!r}))")
    shown = cloudtrain("estimate", "smollm2-135m", "--verify")
    assert shown.code == 0
    assert "proven peak (FakeTensorMode, torch 2.13.0)" in shown.out
    assert "3.0 GiB" in shown.out
    assert "estimate against proof" in shown.out
    schema = json.loads(cloudtrain("schema", "estimate").out)
    document = json.loads(cloudtrain("estimate", "smollm2-135m", "--verify", "-o", "json").out)
    jsonschema.validate(document, schema)
    assert document["verified"]["peak_bytes"] == 3 * GIB
    assert json.loads(cloudtrain("estimate", "smollm2-135m", "-o", "json").out)["verified"] is None


def test_estimate_shows_the_compilers_verdict(
    program: Callable[[str], list[str]], cloudtrain: Callable[..., Result]
) -> None:
    """A step that does not fit is said with what the device has."""
    program(f"print(json.dumps({OVERFLOW!r}))")
    shown = cloudtrain("estimate", "smollm2-135m", "--backend", "tpu", "--chip", "v5e", "--verify")
    assert shown.code == 0
    assert "no, a device has 16.0 GiB" in shown.out


def test_quote_proves_the_row_that_is_asked_for(
    program: Callable[[str], list[str]], cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--why OFFER --verify adds the proof to the row; --verify alone takes the first viable row and says so."""
    program(f"print(json.dumps({TORCH_ANSWER!r}))")
    rented = ("quote", "smollm2-135m", "--infra", "runpod", "--verify")
    first = cloudtrain(*rented)
    assert first.code == 0
    assert "proving the first viable row, #0" in first.err
    headed = [line for line in first.out.splitlines() if line.startswith("proven")]
    assert len(headed) == 2
    assert "live peak 3.0 GiB (FakeTensorMode, torch 2.13.0)" in headed[0]
    assert "fits: 4.6 GiB needed of" in headed[1]  # 3 GiB x 1.06 + 1.4 GiB of runtime
    assert cloudtrain(*rented, "--why", "0").out == first.out


def test_a_proof_takes_the_margins_that_we_measured(
    program: Callable[[str], list[str]], cloudtrain: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine's processor the proven activations carry the factor and the runtime of our own runs."""
    program(f"print(json.dumps({TORCH_ANSWER!r}))")
    load("pricing", "local", PriceSource)
    monkeypatch.setattr(sys.modules["cloudtrain.pricing.local"], "accelerators", lambda system: {})
    shown = cloudtrain("quote", "smollm2-135m", "--infra", "local", "--why", "0", "--verify")
    margins = recipes.table()["torch-cpu"]["torch"]["memory"]
    needed = 3 * GIB + (margins["working_factor"] - 1) * GIB + margins["runtime_bytes"]
    assert f"{gib(needed)} needed of" in shown.out.split("proven")[-1]


def test_quote_says_when_a_row_cannot_be_proven(
    program: Callable[[str], list[str]], cloudtrain: Callable[..., Result]
) -> None:
    """A row of several devices is explained all the same, with the sentence under `proven`."""
    program("")
    shown = cloudtrain(
        "quote", "llama-3.3-70b", "--hardware", "mi300x:8", "--infra", "runpod", "--why", "0", "--verify"
    )
    assert "not proven: with PyTorch only the step of one device can be proven" in shown.out
