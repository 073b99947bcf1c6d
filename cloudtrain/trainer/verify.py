"""Proves what a training step needs instead of estimating it: on fake tensors (PyTorch), or by compiling it (TPU).

`templates/verify/torch_step.py` and the TPU trainer's own `lowering.py` do the work, in environments of the trainers
that are made on first use; neither needs an accelerator. Each gets one JSON document on standard input and prints one.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cloudtrain.errors import CloudtrainError, UsageError
from cloudtrain.estimate import hardware
from cloudtrain.estimate.options import Options, checked
from cloudtrain.models.adapters import adapted_attention
from cloudtrain.models.families import MODEL_TYPES
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec
from cloudtrain.trainer import environment
from cloudtrain.trainer.keyless import without_keys

LONGEST_S = 3600  # the largest models take about a minute; this is for a machine that has something else to do
GENERATIONS = {"tpu-v4": "v4", "tpu-v5e": "v5e", "tpu-v5p": "v5p", "tpu-v6e": "v6e", "tpu7x": "tpu7x"}
# What the TPU trainer's step can be; everything else is estimated only.
_TPU_CHOICES: dict[str, tuple[Any, ...]] = {
    "method": ("lora", "qlora"),
    "optimizer": ("adamw", "adafactor", "sgd", "lion"),
    "dtype": ("bf16",),
    "attention": ("sdpa",),
    "adapter_dtype": ("fp32",),
    "embed_fp32": (False,),
}
_TORCH_OPTIONS = (
    *("method", "sequence_length", "batch", "checkpointing", "dtype", "optimizer", "rank", "loss", "grad_accum"),
    *("embed_fp32", "experts_4bit", "expert_dequant", "attention", "dropout", "train_layers", "adapter_dtype"),
)
_HUGGING_FACE = {"gemma3": "gemma3_text"}  # where the library's name of an architecture is not ours
_MATRICES = {  # our roles of matrices as transformers names them
    **{"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "o_proj", "qkv": "qkv_proj"},
    **{"q_down": "q_a_proj", "q_up": "q_b_proj", "kv_down": "kv_a_proj_with_mqa", "kv_up": "kv_b_proj"},
}


@dataclass(frozen=True, slots=True)
class Verified:
    """What was proven, per device.

    `phase` is forward, backward or optimizer, or `step` where the compiler does not say. `parts` are the kinds of bytes
    at that moment (weights, gradients, optimizer, activations with logits, workspace) or None. `fits` is the TPU
    compiler's verdict against `available_bytes`; None where the proof is of tensors alone. `how` names the versions.
    """

    peak_bytes: int
    phase: str
    parts: dict[str, int] | None
    fits: bool | None
    how: str
    seconds: float
    available_bytes: int | None = None


def verify(spec: ModelSpec, options: Options, log: Callable[[str], None]) -> Verified:
    """Prove the peak of `options` for `spec`: 5 s to about a minute, and once some minutes to make the environment.

    `log` gets one message per slow step. Raises UsageError for what cannot be proven, Unavailable when the
    environment's packages cannot be fetched, CloudtrainError when the environment or the proof fails otherwise.
    """
    spec, options = checked(spec, options)
    if options.estimator == "torch":
        document, script, flavour = torch_document(spec, options), "verify/torch_step.py", "cpu"
    elif options.estimator == "tpu":
        document, script, flavour = tpu_document(spec, options), "tpu/lowering.py", "tpu"
        _platform_has_libtpu()
    else:
        raise UsageError(
            f"nothing can prove a step of back end `{options.estimator}`: its memory is only estimated",
            "leave --verify out, or take --backend torch or tpu",
        )
    python = environment.ensure(flavour, log)
    doing = "running the step on fake tensors" if flavour == "cpu" else f"compiling the step for {options.chip}"
    log(f"{doing} (some seconds to a minute)")
    started = time.monotonic()
    answer = run(python, script, document)
    return read(answer, options, time.monotonic() - started)


def torch_document(spec: ModelSpec, options: Options) -> dict[str, Any]:
    """What torch_step.py is given. Raises UsageError for steps that it cannot run."""
    if options.devices > 1:
        raise UsageError(
            f"with PyTorch only the step of one device can be proven, not its share on each of {options.devices}",
            "leave --devices out to prove the whole step on one device",
        )
    if spec.family == "longcat_flash_ngram":
        raise UsageError(
            f"models of family `{spec.family}` cannot be proven with PyTorch: transformers has no class for them",
            "the estimate without --verify holds for them",
        )
    if options.experts_4bit and options.expert_dequant == "single" and spec.shape.traits.expert_bias:
        raise UsageError(
            f"4-bit experts of family `{spec.family}` cannot be proven one at a time", "take --expert-dequant layer"
        )
    targets: Any = "all-linear"
    if options.targets != "all-linear":
        targets = [_MATRICES[linear.role] for linear in adapted_attention(spec.shape, options.targets)]
    chosen = {name: getattr(options, name) for name in _TORCH_OPTIONS}
    return {"config": _configuration(spec, options), "options": {**chosen, "target_modules": targets}}


def tpu_document(spec: ModelSpec, options: Options) -> dict[str, Any]:
    """What the TPU trainer's lowering.py is given. Raises UsageError for steps that it cannot compile."""
    generation = _generation(options.chip)
    for name, choices in _TPU_CHOICES.items():
        value = getattr(options, name)
        if value not in choices:
            raise UsageError(
                f"a TPU step with {name.replace('_', ' ')} {value} cannot be compiled here",
                f"it can be with {name.replace('_', ' ')} {' or '.join(map(str, choices))}",
            )
    return {
        "config": _configuration(spec, options),
        "generation": generation,
        "devices": options.devices,
        "job": {
            **{"method": options.method, "quantisation": options.quantisation, "optimizer": options.optimizer},
            **{"sequence_length": options.sequence_length, "grad_accum": options.grad_accum},
            "micro_batch": -(-options.batch // options.devices) * options.devices,
            "activation_checkpointing": options.checkpointing,
            "lora": {"rank": options.rank, "dropout": options.dropout, "targets": options.targets},
        },
    }


def config_keys(shape: Shape) -> dict[str, Any]:
    """A Hugging Face configuration with the sizes of `shape`, as transformers 5.23 reads it.

    What is left out has no bearing on memory. DeepSeek's groups of experts are one group here: they only mask scores.
    """
    keys: dict[str, Any] = {
        "model_type": _HUGGING_FACE.get(shape.family, shape.family),
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "intermediate_size": shape.intermediate,
        "tie_word_embeddings": shape.tied,
        "pad_token_id": 0,
    }
    if shape.traits.mla:
        keys |= {"q_lora_rank": shape.q_rank or None, "kv_lora_rank": shape.kv_rank, "head_dim": shape.qk_rope}
        keys |= {"qk_nope_head_dim": shape.qk_nope, "qk_rope_head_dim": shape.qk_rope, "v_head_dim": shape.v_head}
    else:
        keys |= {"head_dim": shape.head_dim, "sliding_window": shape.sliding_window or None}
    if shape.family == "longcat_flash":  # its own names; its library class counts attention blocks as layers
        del keys["num_hidden_layers"], keys["intermediate_size"]
        keys |= {"num_layers": shape.layers, "ffn_hidden_size": shape.intermediate, "moe_topk": shape.top_k}
        keys |= {"n_routed_experts": shape.experts, "zero_expert_num": shape.zero_experts}
        keys |= {"expert_ffn_hidden_size": shape.expert_intermediate}
    elif shape.experts:
        keys |= {"num_experts_per_tok": shape.top_k, "moe_intermediate_size": shape.expert_intermediate}
        keys |= {"num_experts" if shape.family == "qwen3_moe" else "num_local_experts": shape.experts}
    if shape.family == "deepseek_v3":
        del keys["num_local_experts"]
        keys |= {"n_routed_experts": shape.experts, "n_shared_experts": shape.shared_experts}
        keys |= {"first_k_dense_replace": shape.dense_layers, "n_group": 1, "topk_group": 1}
    if shape.family == "qwen3_moe":
        keys |= {"mlp_only_layers": list(range(shape.dense_layers))}
    return keys


def read(answer: dict[str, Any], options: Options, seconds: float) -> Verified:
    """A program's answer as a record. Raises UsageError when it says that it cannot."""
    if "unsupported" in answer:
        raise UsageError(f"the step cannot be proven: {answer['unsupported']}", "the estimate without --verify holds")
    versions, took = answer["versions"], round(seconds, 1)
    if options.estimator == "torch":
        how = f"FakeTensorMode, torch {versions['torch']}"
        return Verified(answer["peak_bytes"], answer["phase"], answer["parts"], None, how, took)
    how = f"the trainer's own step compiled for {options.chip}, libtpu {versions['libtpu']}"
    return Verified(answer["peak"], "step", None, answer["fits"], how, took, answer["available"])


def _configuration(spec: ModelSpec, options: Options) -> dict[str, Any]:
    """The model's own config.json where there is one, at the asked depth; else one made from its shape."""
    from cloudtrain.models import from_hub

    folder = Path(spec.path) if spec.path else from_hub.kept(spec.hub_id)
    if folder is None or not (file := folder / "config.json").is_file():
        return config_keys(spec.shape)
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    text = document.get("text_config")
    if isinstance(text, dict) and "hidden_size" not in document:
        document = text
    family = MODEL_TYPES.get(document.get("model_type", ""), spec.family)
    document = {**document, "model_type": _HUGGING_FACE.get(family, family)}
    document.pop("quantization_config", None)  # of the file as published; the method decides here
    if options.layers is not None:
        document["num_layers" if "num_layers" in document else "num_hidden_layers"] = spec.shape.layers
        if isinstance(kinds := document.get("layer_types"), list):
            document["layer_types"] = [kinds[number % len(kinds)] for number in range(spec.shape.layers)]
        if "first_k_dense_replace" in document:
            document["first_k_dense_replace"] = spec.shape.dense_layers
    return document


def _generation(chip: str) -> str:
    """libtpu's name of the chip. Raises UsageError."""
    known = ", ".join(GENERATIONS)
    if not chip:
        raise UsageError("a TPU step is compiled for one kind of chip", f"name it with --chip: {known}")
    key = hardware.find(chip).key
    if key not in GENERATIONS:
        raise UsageError(f"no step can be compiled for `{key}` here", f"chips that can: {known}")
    return GENERATIONS[key]


def _platform_has_libtpu() -> None:
    if sys.platform != "linux" or platform.machine().lower() not in ("x86_64", "amd64"):
        raise UsageError(
            f"the TPU compiler (libtpu) exists for Linux on x86-64 only, not for {sys.platform} {platform.machine()}",
            "prove it on such a machine, or take the estimate without --verify",
        )


PROOF = ("the step could not be proven", "the system ended the proof of the step")


def run(python: Path, script: str, document: dict[str, Any], failed: tuple[str, str] = PROOF) -> Any:
    """The answer of a program of `templates`, by its path there. Raises CloudtrainError with the last of what it said.

    `failed` are the words for a program that failed, and for one that the system ended.
    """
    path = Path(str(files("cloudtrain.templates"))) / script
    inherited = {
        name: value for name, value in without_keys(os.environ).items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")
    }
    try:
        done = subprocess.run(
            [str(python), str(path)],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
            env=inherited,
        )
        answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        raise CloudtrainError(f"{failed[0]}: {error}", "repeat; if it persists, report it") from error
    if done.returncode:
        raise _failure(done.returncode, done.stderr, failed)
    return answer


def _failure(code: int, output: str, failed: tuple[str, str]) -> CloudtrainError:
    if code == -signal.SIGKILL:
        return CloudtrainError(failed[1], "give it 4 GiB of free memory and repeat")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = lines[-1][:400] if lines else f"it printed nothing and ended with {code}"
    return CloudtrainError(f"{failed[0]}: {said}", "the estimate without --verify holds; report this")
