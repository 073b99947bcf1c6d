"""The groups of keys of a spec, and how the texts of their values are read."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from cloudtrain.errors import UsageError
from cloudtrain.units import parse_duration_s

TARGET_GROUPS = ("all-linear", "attention", "qv")
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

    rank: int = Field(
        default=16, ge=1, le=4096, description="width of the adapter: more learns more and needs more memory"
    )
    alpha: float = Field(
        default_factory=lambda data: 2.0 * data.get("rank", 16),
        gt=0,
        le=1e6,
        description="strength of the adapter; twice the rank when left out",
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of the adapter's inputs that are dropped while training"
    )
    targets: Targets = Field(
        default="all-linear",
        description="what the adapter is put on: all-linear, attention, qv, or module names such as [q_proj, v_proj]",
    )


class Data(Record):
    """The rows to train on, and those to evaluate on. `data: file` is short for `data: {path: file}`."""

    path: Text = Field(description="next to this file: JSON lines, a JSON list (both also .gz), CSV, TSV or Parquet")
    format: Literal["messages", "prompt", "text", "sharegpt", "alpaca", "paragraphs"] | None = Field(
        default=None,
        description="messages, prompt, text, sharegpt or alpaca; found from the rows when left out; "
        "paragraphs for plain text, each a row",
    )
    eval_path: Text | None = Field(default=None, description="rows that are never trained on, to measure the loss with")
    eval_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="or keep this share of the rows to measure the loss with, for example 0.05"
    )


class Checkpoint(Record):
    """How often progress is saved, and how many saves are kept."""

    every: Interval = Field(
        default="5m",
        description="time between two saves, for example 300s, 5m or 1h: what can be lost when a machine is preempted; "
        "longer where saving is slow, so that it takes at most a twentieth of the time",
    )
    keep: int = Field(default=2, ge=1, le=1000, description="how many checkpoints are kept")

    @property
    def every_s(self) -> float:
        """Seconds from the end of a save to the next one, at least."""
        return parse_duration_s(self.every)


class Eval(Record):
    """Steps between two evaluations; 0 evaluates at the end alone, and only when there are rows for it."""

    every: int = Field(
        default=0, ge=0, le=10**9, description="steps between two evaluations; 0 evaluates at the end alone"
    )


class Budget(Record):
    """What the run may cost in US dollars and last in hours, in total. None: the settings decide."""

    max_cost: Decimal | None = Field(
        default=None, ge=0, le=10**7, description="US dollars that the run may cost; it is ended before it costs more"
    )
    max_hours: float | None = Field(
        default=None, gt=0, le=8760, description="hours that the run may last, from the first second that is billed"
    )
    stop_above_cap: bool = Field(
        default=False,
        description="save and stop as soon as the run's own rate says that `max_cost` may not do, not only at the cap",
    )
