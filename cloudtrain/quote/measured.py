"""What this state's own runs measured: it overrides the shipped efficiency of the same hardware, method, software.

The lines are `records.MeasurementRecord`s. They are read here by hand, because a quote does not wait for pydantic: a
line of another shape is passed over, by the same rules (a test holds both to each other).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.offer import Offer, Range

if TYPE_CHECKING:
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

FILE = "measurements.jsonl"
NEWEST = 200  # lines read
ONE_RUN_FACTOR = 1.3  # how far one run may mislead about another model or length
SEVERAL_RUNS_FACTOR = 1.15


WORD, NUMBER = (str,), (int, float)
# The fields that are read, and the types that each may have; see NEVER_NULL for those that must be there.
SHAPE: dict[str, tuple[type, ...]] = {
    "hardware": WORD,
    "count": (int,),
    "model": WORD,
    "method": WORD,
    "stack": WORD,
    "dtype": WORD,
    "out_of_memory": (bool,),
    "flops_per_s": NUMBER,
    "peak_bytes": NUMBER,
    "required_bytes": NUMBER,
}
NEVER_NULL = ("hardware", "count", "dtype", "out_of_memory")
DEFAULTS = {"dtype": "bf16", "out_of_memory": False}


class Measurement(NamedTuple):
    """What a quote reads of one run's measurement."""

    hardware: str
    count: int  # type: ignore[assignment]  # shadows tuple.count, which is not used
    model: str | None
    method: str | None
    stack: str | None
    dtype: str
    out_of_memory: bool
    flops_per_s: float | None
    peak_bytes: float | None
    required_bytes: float | None

    @property
    def teaches(self) -> bool:
        """Whether there is anything in it: a speed, or that its memory was short."""
        return self.out_of_memory or (self.flops_per_s is not None and self.flops_per_s > 0)


def measurement(line: str) -> Measurement | None:
    """A line of the measurements; None for one that is damaged or of another shape."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("version", 1) != 1:
        return None
    found = {**DEFAULTS, **found}
    for name, types in SHAPE.items():
        value = found.get(name)
        if type(value) not in types and not (value is None and name not in NEVER_NULL):
            return None
    return Measurement(*(found.get(name) for name in SHAPE))  # type: ignore[arg-type]  # checked above


@dataclass(frozen=True)
class Measurements:
    """Measured runs, oldest first."""

    runs: tuple[Measurement, ...] = ()

    @classmethod
    def of_state(cls, state: str) -> Measurements:
        """What a state holds; of one in a bucket what was last copied here. A damaged line is passed over."""
        try:
            with open(kept_here(state) or os.path.join(state, FILE), encoding="utf-8") as file:
                lines = file.readlines()[-NEWEST:]
        except OSError:
            return cls()
        return cls(tuple(run for line in lines if (run := measurement(line)) is not None and run.teaches))

    def rate(self, offer: Offer, recipe: Recipe, request: Request) -> tuple[Range, str] | None:
        """Tokens per second of the offer's machine from runs on the same machine; None when there is none."""
        found = [
            run.flops_per_s
            for run in self.runs
            if run.flops_per_s
            and (run.hardware, run.count, run.method, run.stack, run.dtype)
            == (offer.hardware, offer.count, request.method, recipe.stack, recipe.options.dtype)
        ]
        if not found:
            return None
        from statistics import median  # takes OpenSSL with it, which most quotes can do without

        per_token = request.flops_per_token()
        factor = ONE_RUN_FACTOR if len(found) == 1 else SEVERAL_RUNS_FACTOR
        rate = Range(min(found) / factor / per_token, median(found) / per_token, max(found) * factor / per_token)
        many = "run" if len(found) == 1 else "runs"
        return rate, f"measured: n = {len(found)} {many} of {request.method} here with {recipe.stack}"

    def memory_factor(self, recipe: Recipe, request: Request) -> float:
        """By what the memory estimate is to be raised, at least 1: by what runs of this model in this way have used.

        A run that ended for want of memory counts with what it needed at least.
        """
        wanted = (request.spec.name, request.method, recipe.stack)
        found = [
            run.peak_bytes / run.required_bytes
            for run in self.runs
            if (run.model, run.method, run.stack) == wanted and run.peak_bytes and run.required_bytes
        ]
        return max([1.0, *found])


def kept_here(state: str) -> Path | None:
    """Where the measurements of a state in a bucket are copied to; None for a state in a folder, which has its own."""
    if "://" not in state:
        return None
    import hashlib

    from cloudtrain.settings import cache_folder

    return cache_folder() / "measurements" / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.jsonl"
