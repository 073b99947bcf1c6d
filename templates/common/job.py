"""The job file: what to train on what, read into records; an unknown key or a value of the wrong type is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import limits
from failures import BadJob


def at_least(minimum: float, default: Any = MISSING) -> Any:
    """A dataclass field whose value may not be below `minimum`."""
    return field(default=default, metadata={"at_least": minimum})


@dataclass(frozen=True)
class Lora:
    """The adapter: rank, scale alpha / rank, dropout, and the layers that get one."""

    rank: int = at_least(1, 16)
    alpha: float = at_least(0, 32)
    dropout: float = at_least(0, 0.0)
    targets: Literal["all-linear", "attention", "qv"] | list[str] = "all-linear"


@dataclass(frozen=True)
class Data:
    """Where the rows are. `eval_fraction` of them are held back when there is no `eval_path`."""

    path: str
    format: Literal["messages", "prompt", "text", "sharegpt", "alpaca", "paragraphs"] | None = None
    eval_path: str | None = None
    eval_fraction: float = at_least(0, 0.0)


@dataclass(frozen=True)
class Checkpoint:
    """Saved into `folder`, where the newest `keep` stay, `every_s` seconds after the save before; 0 is each step.

    Where saving is slow it is seldomer: `checkpoints.interval_s`.
    """

    folder: str
    every_s: float = at_least(0, 300.0)
    keep: int = at_least(1, 2)


@dataclass(frozen=True)
class Evaluation:
    """Evaluate every so many steps; 0 = once, at the end."""

    every_steps: int = at_least(0, 0)


@dataclass(frozen=True)
class Quantised:
    """The folder in which 4-bit weights are kept, written in pieces of so many bytes; None: they are not.

    `model` says which weights they are made from, where a machine cannot tell; `fetched`: another machine made them.
    """

    folder: str | None = None
    model: str | None = None
    fetched: bool = False
    piece_bytes: int = at_least(1, 1 << 30)


@dataclass(frozen=True)
class Job:
    """One fine-tune. Paths are absolute, times are seconds, `deadline` is seconds since the epoch."""

    model: str
    data: Data
    checkpoint: Checkpoint
    output: str
    run: str = "run"
    revision: str | None = None
    method: Literal["full", "lora", "qlora", "dora", "freeze"] = "qlora"
    lora: Lora = field(default_factory=Lora)
    train_layers: int = at_least(1, 2)
    sequence_length: int = at_least(8, 2048)
    packing: bool = True
    train_on: Literal["assistant", "all"] = "assistant"
    micro_batch: int = at_least(1, 1)
    grad_accum: int = at_least(1, 1)
    epochs: float = at_least(0, 1.0)
    max_steps: int | None = at_least(1, None)
    lr: float | None = at_least(0, None)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = at_least(0, 0.03)
    optimizer: Literal["adamw", "adamw8bit", "adafactor", "sgd", "lion"] = "adamw"
    weight_decay: float = at_least(0, 0.0)
    seed: int = at_least(0, 42)
    activation_checkpointing: bool | Literal["auto"] = True  # "auto": not where the fast trainer has the memory
    dtype: Literal["bf16", "amp"] = "bf16"
    quantisation: Literal["nf4", "int8", "int4"] = "nf4"  # of the frozen weights under qlora
    expert_capacity: float = at_least(0.1, 2.0)  # places for tokens where experts are shared: times an even share
    compute: Literal["auto", "measured", "bf16", "fp32"] = "auto"  # "measured": there is memory for float32
    trainer: Literal["fast", "plain"] = "plain"  # "fast": on a processor, parts of our own; experimental
    eval: Evaluation = field(default_factory=Evaluation)
    quantised: Quantised = field(default_factory=Quantised)
    report: Literal["none", "tensorboard"] = "none"
    accelerator: str = "cpu"  # one that the back end has
    chip: str | None = None  # what was rented: its key in the accelerator table
    devices: int | None = at_least(1, None)  # and how many of them a framework has to see
    deadline: float | None = None
    grace_s: float = at_least(0, 60.0)

    @property
    def learning_rate(self) -> float:
        """The rate asked for, or the usual one: 2e-4 for adapters, 2e-5 where the weights themselves are trained."""
        if self.lr is not None:
            return self.lr
        return 2e-5 if self.method in ("full", "freeze") else 2e-4

    def warmup_steps(self, steps: int) -> int:
        """Of so many steps, those of the warm-up: `warmup` below 1 is a part of them, else their number."""
        return int(self.warmup * steps) if self.warmup < 1 else int(self.warmup)

    @property
    def adapter(self) -> bool:
        """Whether the result is an adapter for an unchanged model."""
        return self.method in ("lora", "qlora", "dora")

    @property
    def recipe(self) -> dict[str, Any]:
        """What two processes must agree on for one to resume the other's checkpoint; places and limits may differ."""
        place = (
            "run",
            "model",
            "data",
            "checkpoint",
            "output",
            "accelerator",
            "chip",
            "devices",
            "deadline",
            "grace_s",
            "report",
        )
        # places may differ; a checkpoint has a type of its own, which whoever resumes it takes over; what the frozen
        # weights are packed in is decided by the machine's memory, and an adapter goes on in any of them; a run that
        # ended for want of places goes on with more
        kept = (*place, "quantised", "compute", "quantisation", "expert_capacity")
        return in_whole_steps({key: value for key, value in asdict(self).items() if key not in kept})


def in_whole_steps(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe, also an older checkpoint's, without how a step is split up and computed: machines may differ."""
    how = ("micro_batch", "grad_accum", "activation_checkpointing", "trainer")
    rest = {key: value for key, value in recipe.items() if key not in how}
    if "micro_batch" not in recipe:
        return rest
    return {**rest, "step_sequences": recipe["micro_batch"] * recipe["grad_accum"]}


def read(path: Path, backend: Mapping[str, Any] | None = None) -> Job:
    """The job in the JSON file `path`. Raises BadJob with one message that names the key at fault.

    `backend` is the description of who is to train it: its accelerators, and what it cannot do. Without one any goes.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadJob(f"cannot read the job file {path}: {error.strerror}") from None
    except ValueError as error:
        raise BadJob(f"the job file {path} is not JSON: {error}") from None
    job: Job = _record(Job, document, "")
    _check_together(job)
    if backend is not None:
        _check_back_end(job, backend)
    return job


def _check_back_end(job: Job, backend: Mapping[str, Any]) -> None:
    known = backend["accelerators"]
    if job.accelerator not in known:
        raise BadJob(f"`accelerator` must be {_either(known)}, not {json.dumps(job.accelerator)}")
    beyond = limits.refusal(backend["cannot"], asdict(job))
    if beyond is not None:
        given = json.dumps(beyond.value)
        raise BadJob(f"`{beyond.field}` must be {_either(beyond.only)} here, not {given}: {beyond.why}")


def _either(choices: Iterable[Any]) -> str:
    return " or ".join(json.dumps(choice) for choice in choices)


def _check_together(job: Job) -> None:
    if job.max_steps is None and job.epochs == 0:
        raise BadJob("`epochs` must be above 0 when `max_steps` is not given")
    if job.data.eval_fraction >= 1:
        raise BadJob("`data.eval_fraction` must be below 1")
    if job.lora.dropout >= 1:
        raise BadJob("`lora.dropout` must be below 1")
    for key, value in (
        ("data.path", job.data.path),
        ("checkpoint.folder", job.checkpoint.folder),
        ("output", job.output),
        ("quantised.folder", job.quantised.folder),
    ):
        if value is not None and not Path(value).is_absolute():
            raise BadJob(f"`{key}` must be an absolute path, not `{value}`")
    if Path(job.model).is_absolute() and not (Path(job.model) / "config.json").is_file():
        raise BadJob(f"there is no model in {job.model}: it has no config.json")


def _record(kind: Any, document: Any, where: str) -> Any:
    """`document` as the dataclass `kind`; `where` is the dotted place it stands at, for messages."""
    if not isinstance(document, dict):
        raise BadJob(f"`{where.rstrip('.') or 'the job'}` must be an object")
    known = {item.name: item for item in fields(kind)}
    for key in document:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            raise BadJob(f"unknown key `{where}{key}`" + (f"; did you mean `{where}{close[0]}`?" if close else ""))
    hints = get_type_hints(kind)
    values = {}
    for name, item in known.items():
        if name in document:
            values[name] = _value(hints[name], document[name], where + name, item.metadata.get("at_least"))
        elif item.default is MISSING and item.default_factory is MISSING:
            raise BadJob(f"`{where}{name}` is missing")
    return kind(**values)


def _value(kind: Any, value: Any, name: str, minimum: float | None) -> Any:
    """`value` checked against the annotation `kind` (and not below `minimum`)."""
    if is_dataclass(kind):
        return _record(kind, value, name + ".")
    if not _fits(kind, value):
        raise BadJob(f"`{name}` must be {_described(kind)}, not {json.dumps(value)[:60]}")
    if minimum is not None and value is not None and value < minimum:
        raise BadJob(f"`{name}` must be at least {minimum:g}, not {value:g}")
    return value


def _fits(kind: Any, value: Any) -> bool:
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in choices
    if get_origin(kind) is list:
        return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    if choices:  # a union
        return any(_fits(choice, value) for choice in choices)
    if kind in (int, float):  # bool is an int in Python, and NaN and infinity are no length of anything
        numbers = (int,) if kind is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool) and abs(value) < 1e18
    return isinstance(value, kind)


_NAMES = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", type(None): "null"}


def _described(kind: Any) -> str:
    choices = get_args(kind)
    if get_origin(kind) is Literal:
        return _either(choices)
    if get_origin(kind) is list:
        return "a list of strings"
    if choices or get_origin(kind) is Union:
        return " or ".join(_described(choice) for choice in choices)
    return _NAMES[kind]
