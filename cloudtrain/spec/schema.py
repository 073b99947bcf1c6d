"""What a run is asked to do: one YAML file, about 20 fields, everything optional but `model` and `data`.

Only commands that read a spec import this module (it needs pydantic and yaml). The texts of a file are read by the type
of the field they stand for, never by YAML's own guesses: `lr: 1e-4` is a number and `revision: 0123456` is not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from cloudtrain.spec import document as spec_document
from cloudtrain.spec import messages
from cloudtrain.spec.groups import Budget, Checkpoint, Data, Eval, Lora, Record, Text

Method = Literal["full", "lora", "qlora", "dora", "freeze"]
ADAPTER_METHODS = ("lora", "qlora", "dora")
# Adapters start at zero and want about ten times the rate of the weights themselves (TRL's SFT guide: 2e-5 and 2e-4).
DEFAULT_LR = {"full": 2e-5, "freeze": 2e-5, "lora": 2e-4, "qlora": 2e-4, "dora": 2e-4}


class Spec(Record):
    """One run. Exactly one of `epochs` and `max_steps`, and of `grad_accum` and `batch_tokens`, is not None.

    The descriptions are what `init` writes next to each key, what an editor shows, and the reference page.
    """

    model: Text = Field(description="a name of `cloudtrain models`, a Hugging Face id, or a folder next to this file")
    revision: Text | None = Field(
        default=None, description="commit, tag or branch of a Hugging Face model; the newest when left out"
    )
    method: Method = Field(
        default="qlora",
        description="qlora, lora or dora train a small adapter; freeze trains the last layers, full everything",
    )
    quantisation: Literal["nf4", "int8", "int4"] | None = Field(
        default=None,
        description="what qlora packs the frozen weights in; when left out, what fits best on the machine: nf4 but "
        "for LongCat on TPUs, which takes int8 where that fits, else int4",
    )
    expert_capacity: float = Field(
        default=2.0,
        ge=1,
        le=64,
        description="LongCat on TPUs: places a chip has for tokens of its experts, as a multiple of an even share; "
        "a step in which over 2 % find none ends the run, and more places take more memory",
    )
    lora: Lora = Field(default=Lora(), description="the adapter; full and freeze ignore it")
    train_layers: int = Field(
        default=2, ge=1, le=10_000, description="how many of the last layers freeze trains; the other methods ignore it"
    )
    data: Data = Field(description="what to train on; `data: FILE` alone is short for its path")
    sequence_length: int = Field(default=2048, ge=16, le=2**24, description="tokens per sequence; longer rows are cut")
    packing: bool = Field(
        default=True, description="put several short rows into one sequence, kept apart: less padding, less money"
    )
    train_on: Literal["assistant", "all"] = Field(
        default="assistant", description="assistant learns from the answers alone, all from the questions too"
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        le=65536,
        description="sequences at once; when left out what is cheapest on the machine, the steps are the same ones",
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        le=2**32,
        description="instead of grad_accum: tokens per step of the optimizer, the same on any hardware",
    )
    grad_accum: int | None = Field(
        default_factory=lambda data: None if data.get("batch_tokens") else 1,
        ge=1,
        le=65536,
        description="micro-batches per step of the optimizer; sequences where micro_batch is left out",
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=10**9, description="instead of epochs: stop after so many steps of the optimizer"
    )
    epochs: float | None = Field(
        default_factory=lambda data: None if data.get("max_steps") else 1.0,
        gt=0,
        le=10_000,
        description="how often every row is seen",
    )
    lr: float = Field(
        default_factory=lambda data: DEFAULT_LR[data.get("method", "qlora")],
        gt=0,
        le=10,
        description="learning rate; when left out 2e-4 for an adapter, 2e-5 for full and freeze",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the learning rate falls to the end: cosine, linear or constant"
    )
    warmup: float = Field(
        default=0.03, ge=0, lt=1, description="share of the steps in which the learning rate rises from zero"
    )
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion"] = Field(
        default="adamw", description="the optimizer: adamw, adamw8bit, adafactor, sgd or lion"
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="pull of the trained weights towards zero")
    seed: int = Field(default=42, ge=0, lt=2**32, description="same seed, same data, same hardware: same order of rows")
    checkpoint: Checkpoint = Field(
        default=Checkpoint(), description="how often progress is saved, and how many saves are kept"
    )
    eval: Eval = Field(default=Eval(), description="when the loss on the rows for evaluation is measured")
    report: Literal["none", "tensorboard"] = Field(
        default="none", description="none, or tensorboard for event files next to the adapter"
    )
    trainer: Literal["fast", "plain"] = Field(
        default="plain",
        description="plain computes with the libraries alone; fast, on processors, with parts of our own where there "
        "are some: experimental, faster, not yet in quotes, whose hours and memory are those of plain",
    )
    budget: Budget = Field(
        default=Budget(), description="limits of this run; what is not set here, the settings decide"
    )

    @model_validator(mode="after")
    def _agree(self) -> Spec:
        if self.max_steps and self.epochs:
            raise _conflict("epochs", "excludes `max_steps`: write one of the two")
        if self.batch_tokens and self.grad_accum:
            raise _conflict("grad_accum", "excludes `batch_tokens`: write one of the two")
        if self.batch_tokens and self.batch_tokens < self.sequence_length * (self.micro_batch or 1):
            size = f"{self.micro_batch or 1} x {self.sequence_length}"
            raise _conflict(
                "batch_tokens", f"is less than one micro-batch (`micro_batch` x `sequence_length` = {size})"
            )
        if self.data.eval_path and self.data.eval_fraction:
            raise _conflict("data.eval_fraction", "excludes `data.eval_path`: write one of the two")
        if self.eval.every and not (self.data.eval_path or self.data.eval_fraction):
            raise _conflict("eval.every", "needs rows to evaluate on: write `data.eval_path` or `data.eval_fraction`")
        return self

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches per optimizer step; `batch_tokens` is rounded up to whole micro-batches.

        Of single sequences where `micro_batch` is left out: a machine that takes more at once takes as many fewer.
        """
        if self.batch_tokens:
            return math.ceil(self.batch_tokens / ((self.micro_batch or 1) * self.sequence_length))
        return self.grad_accum or 1

    @property
    def step_sequences(self) -> int:
        """Sequences in an optimizer step: decided by the spec alone, so that a run is the same one on any machine."""
        return (self.micro_batch or 1) * self.accumulation_steps

    def identity(self) -> str:
        """sha256 (hex) over what decides the result, defaults filled in.

        Left out: budget, checkpoint, report and trainer, which do not decide what is trained (either trainer resumes
        what the other began); parts that the method ignores; and the paths of the data, because the caller mixes in
        the sha256 of the files themselves. A `micro_batch` that is left out counts as 1, whatever a machine takes: the
        steps are those of single sequences.
        """
        left_out: dict[str, Any] = {"budget": True, "checkpoint": True, "report": True, "trainer": True}
        left_out["data"] = {"path", "eval_path"}
        left_out["lora"] = self.method not in ADAPTER_METHODS
        left_out["train_layers"] = self.method != "freeze"
        left_out["quantisation"] = self.quantisation is None or self.method != "qlora"
        left_out["expert_capacity"] = self.expert_capacity == type(self).model_fields["expert_capacity"].default
        decisive = self.model_dump(mode="json", exclude={key: value for key, value in left_out.items() if value})
        decisive["micro_batch"] = self.micro_batch or 1
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The whole spec, defaults filled in, as YAML that `load` reads back to an equal record."""
        import yaml

        content = self.model_dump(mode="json", exclude_none=True)
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=2**20))


def _conflict(key: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", message, {"key": key})


def load(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> Spec:
    """The spec in the file `path`, with `key=value` overrides on top.

    Relative paths count from the folder of the file; `model` is such a path only when the folder exists, else it stays
    a registry name or a Hugging Face id. Raises UsageError with `file:line` (or the override) and, as its hint, the
    nearest known word.
    """
    return parse(spec_document.read_text(path), str(path), path.absolute().parent, overrides)


def parse(text: str, name: str, folder: Path, overrides: list[str] | tuple[str, ...] = ()) -> Spec:
    """Like `load`, for a text that is called `name` in errors and whose relative paths count from `folder`."""
    document = spec_document.parse(text, name)
    for override in overrides:
        spec_document.override(document, override)
    try:
        spec = Spec.model_validate(document.tree)
    except ValidationError as wrong:
        raise messages.usage_error(wrong, document, Spec) from None
    return _located(spec, folder)


def _located(spec: Spec, folder: Path) -> Spec:
    """`spec` with its relative paths made absolute from `folder`."""
    data = spec.data
    paths = {"path": _from(folder, data.path), "eval_path": data.eval_path and _from(folder, data.eval_path)}
    model = _from(folder, spec.model)
    update = {"data": data.model_copy(update=paths), "model": model if os.path.isdir(model) else spec.model}
    return spec.model_copy(update=update)


def _from(folder: Path, text: str) -> str:
    """`text` as a path from `folder`; a URL stays as it is, so that the data check can say what is wrong with it."""
    return text if "://" in text else os.path.normpath(folder / os.path.expanduser(text))
