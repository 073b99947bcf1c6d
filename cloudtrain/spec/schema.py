"""What a run is asked to do: one YAML file, about 20 fields, everything optional but `model` and `data`.

Only commands that read a spec import this module (it needs pydantic and yaml). The texts of a file are read by the type
of the field they stand for, never by YAML's own guesses: `lr: 1e-4` is a number and `revision: 0123456` is not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from cloudtrain.errors import UsageError
from cloudtrain.spec import document as spec_document
from cloudtrain.spec import messages
from cloudtrain.units import parse_duration_s

Method = Literal["full", "lora", "qlora", "dora", "freeze"]
ADAPTER_METHODS = ("lora", "qlora", "dora")
TARGET_GROUPS = ("all-linear", "attention", "qv")
# Adapters start at zero and want about ten times the rate of the weights themselves (TRL's SFT guide: 2e-5 and 2e-4).
DEFAULT_LR = {"full": 2e-5, "freeze": 2e-5, "lora": 2e-4, "qlora": 2e-4, "dora": 2e-4}
LONGEST_CHECKPOINT_S = 7 * 86400
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


def _one_line(text: str) -> str:
    if not text or len(text) > 4096 or _CONTROL.search(text):
        raise PydanticCustomError(
            "text", "is not one line of at most 4096 characters, none of them a control character"
        )
    return text


def _interval(text: str) -> str:
    try:
        float(text)
    except ValueError:
        pass
    else:
        raise PydanticCustomError("unit", "has no unit of time", {"hint": "write for example 300s, 5m or 1h"})
    try:
        seconds = parse_duration_s(text)
    except UsageError as wrong:
        raise PydanticCustomError("interval", "is not a length of time", {"hint": wrong.hint}) from None
    if not 1 <= seconds <= LONGEST_CHECKPOINT_S:
        raise PydanticCustomError("interval", "is not between 1 s and 7 days")
    return text


def _targets(value: object) -> object:
    """A group of layers, or module names as a list or with commas between."""
    if isinstance(value, str) and value.strip() in TARGET_GROUPS:
        return value.strip()
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) and "," in value else value
    if isinstance(names, (list, tuple)) and names and all(_module_name(name) for name in names):
        return tuple(names)
    raise PydanticCustomError(
        "targets",
        "is neither a group of layers nor a list of module names",
        {"hint": "write all-linear, attention, qv or a list such as [q_proj, v_proj]"},
    )


def _module_name(name: object) -> bool:
    return isinstance(name, str) and name.replace(".", "").replace("_", "").isalnum() and name.isascii()


Text = Annotated[str, AfterValidator(_one_line)]
Interval = Annotated[str, AfterValidator(_interval)]
Targets = Annotated[str | tuple[str, ...], BeforeValidator(_targets)]


class Record(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


class Lora(Record):
    """The adapter, for the methods lora, qlora and dora; the other methods ignore it."""

    rank: int = Field(default=16, ge=1, le=4096)
    alpha: float = Field(default_factory=lambda data: 2.0 * data.get("rank", 16), gt=0, le=1e6)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Targets = "all-linear"


class Data(Record):
    """The rows to train on, and those to evaluate on. `data: file` is short for `data: {path: file}`."""

    path: Text
    format: Literal["messages", "prompt", "text", "sharegpt", "alpaca"] | None = None
    eval_path: Text | None = None
    eval_fraction: float = Field(default=0.0, ge=0, lt=1)


class Checkpoint(Record):
    """How often progress is saved, and how many saves are kept."""

    every: Interval = "5m"
    keep: int = Field(default=2, ge=1, le=1000)

    @property
    def every_s(self) -> float:
        """Seconds between the beginnings of two saves."""
        return parse_duration_s(self.every)


class Eval(Record):
    """Steps between two evaluations; 0 evaluates at the end alone, and only when there are rows for it."""

    every: int = Field(default=0, ge=0, le=10**9)


class Budget(Record):
    """What the run may cost in US dollars and last in hours, all told. None: the settings decide."""

    max_cost: Decimal | None = Field(default=None, ge=0, le=10**7)
    max_hours: float | None = Field(default=None, gt=0, le=8760)


class Spec(Record):
    """One run. Exactly one of `epochs` and `max_steps`, and of `grad_accum` and `batch_tokens`, is not None."""

    model: Text
    revision: Text | None = None
    method: Method = "qlora"
    lora: Lora = Lora()
    train_layers: int = Field(default=2, ge=1, le=10_000)
    data: Data
    sequence_length: int = Field(default=2048, ge=16, le=2**24)
    packing: bool = True
    train_on: Literal["assistant", "all"] = "assistant"
    micro_batch: int = Field(default=1, ge=1, le=65536)
    batch_tokens: int | None = Field(default=None, ge=1, le=2**32)
    grad_accum: int | None = Field(default_factory=lambda data: None if data.get("batch_tokens") else 1, ge=1, le=65536)
    max_steps: int | None = Field(default=None, ge=1, le=10**9)
    epochs: float | None = Field(default_factory=lambda data: None if data.get("max_steps") else 1.0, gt=0, le=10_000)
    lr: float = Field(default_factory=lambda data: DEFAULT_LR[data.get("method", "qlora")], gt=0, le=10)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.03, ge=0, lt=1)
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion"] = "adamw"
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=42, ge=0, lt=2**32)
    checkpoint: Checkpoint = Checkpoint()
    eval: Eval = Eval()
    report: Literal["none", "tensorboard"] = "none"
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _agree(self) -> Spec:
        if self.max_steps and self.epochs:
            raise _conflict("epochs", "excludes `max_steps`: write one of the two")
        if self.batch_tokens and self.grad_accum:
            raise _conflict("grad_accum", "excludes `batch_tokens`: write one of the two")
        if self.batch_tokens and self.batch_tokens < self.sequence_length * self.micro_batch:
            size = f"{self.micro_batch} x {self.sequence_length}"
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
        """Micro-batches per optimizer step; `batch_tokens` is rounded up to whole micro-batches."""
        if self.batch_tokens:
            return math.ceil(self.batch_tokens / (self.micro_batch * self.sequence_length))
        return self.grad_accum or 1

    def identity(self) -> str:
        """sha256 (hex) over what decides the result, defaults filled in.

        Left out: budget, checkpoint and report, which change nothing in the weights; parts that the method ignores; and
        the paths of the data, because the caller mixes in the sha256 of the files themselves.
        """
        left_out: dict[str, Any] = {"budget": True, "checkpoint": True, "report": True}
        left_out["data"] = {"path", "eval_path"}
        left_out["lora"] = self.method not in ADAPTER_METHODS
        left_out["train_layers"] = self.method != "freeze"
        decisive = self.model_dump(mode="json", exclude={key: value for key, value in left_out.items() if value})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_yaml(self) -> str:
        """The whole spec, defaults filled in, as YAML that `load` reads back to an equal record."""
        import yaml

        content = self.model_dump(mode="json", exclude_none=True)
        return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=2**20))


def _conflict(key: str, sentence: str) -> PydanticCustomError:
    return PydanticCustomError("conflict", sentence, {"key": key})


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
