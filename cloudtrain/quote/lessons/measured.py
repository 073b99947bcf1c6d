"""What this state's own runs measured: it corrects the shipped efficiency of the same hardware, method, software.

The lines are `records.MeasurementRecord`s. They are read here by hand, because a quote does not wait for pydantic: a
line of another shape is passed over, by the same rules (a test holds both to each other).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate.accelerators import same_class
from cloudtrain.offer import Offer, Range
from cloudtrain.quote.assessment import Learnt
from cloudtrain.quote.lessons.weighting import Evidence, corrected, own_variance, shared_variance
from cloudtrain.settings import copied_here

if TYPE_CHECKING:
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

FILE = "measurements.jsonl"
NEWEST = 200  # lines read
UNKNOWN_SIZE_RATIO = 20.0  # between its model and another one, where a line does not say

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
    "run": WORD,
    "provider": WORD,
    "forgotten": (bool,),
    "tokens": NUMBER,
    "steps": NUMBER,
    "sequence_length": NUMBER,
    "load": NUMBER,
    "tokens_per_second": NUMBER,
    "flops_per_s": NUMBER,
    "peak_bytes": NUMBER,
    "required_bytes": NUMBER,
}
NEVER_NULL = ("hardware", "count", "dtype", "out_of_memory", "run", "forgotten")
DEFAULTS = {"dtype": "bf16", "out_of_memory": False, "run": "", "forgotten": False}


class Measurement(NamedTuple):
    """What a quote reads of one run's measurement."""

    hardware: str
    count: int  # type: ignore[assignment]  # shadows tuple.count, which is not used
    model: str | None
    method: str | None
    stack: str | None
    dtype: str
    out_of_memory: bool
    run: str
    provider: str | None
    forgotten: bool
    tokens: float | None
    steps: float | None
    sequence_length: float | None
    load: float | None
    tokens_per_second: float | None
    flops_per_s: float | None
    peak_bytes: float | None
    required_bytes: float | None

    @property
    def teaches(self) -> bool:
        """Whether there is anything in it: a speed, or that its memory was short."""
        return not self.forgotten and (self.out_of_memory or self.has_speed)

    @property
    def has_speed(self) -> bool:
        """Whether it says how fast it was."""
        return positive(self.flops_per_s) is not None

    def evidence(self, request: Request, provider: str) -> Evidence:
        """What its speed says about the request's at a provider. Only of one that has a speed."""
        speed, per_token = self.flops_per_s or 1.0, request.flops_per_token()
        rate, length = positive(self.tokens_per_second), positive(self.sequence_length)
        size = UNKNOWN_SIZE_RATIO if rate is None else per_token * rate / speed
        longer = None if length is None else request.sequence_length / length
        return Evidence(
            math.log(speed / per_token),
            own_variance(positive(self.steps), positive(self.tokens), self.load),
            shared_variance(size, longer, self.provider == provider),
            (f"{size:.2g}", length, self.provider),
        )


def positive(value: float | None) -> float | None:
    """A figure, or None for one that is none."""
    return value if value is not None and 0 < value < math.inf else None


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


def kept(lines: Iterable[str]) -> list[Measurement]:
    """The measurements without those that were forgotten later, oldest first. A damaged line is passed over."""
    found: list[Measurement] = []
    for line in lines:
        run = measurement(line)
        if run is not None and run.forgotten:
            found = [other for other in found if other.run != run.run]
        elif run is not None:
            found.append(run)
    return found


class Measurements(NamedTuple):
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
        return cls(tuple(run for run in kept(lines) if run.teaches))

    def rate(self, offer: Offer, recipe: Recipe, request: Request, prior: Range | None, most: float) -> Learnt | None:
        """Tokens per second of the offer's machine: `prior` with what ran on the same machine; None when nothing has.

        `most` is the highest speed that the machine can have.
        """
        found = [
            run.evidence(request, offer.provider)
            for run in self.runs
            if run.has_speed
            and (run.count, run.method, run.stack, run.dtype)
            == (offer.count, request.method, recipe.stack, recipe.options.dtype)
            and same_class(run.hardware, offer.hardware)
        ]
        result = corrected(prior, found, most)
        if result is None:
            return None
        many = f"n = {len(found)} {'run' if len(found) == 1 else 'runs'} of {request.method} here with {recipe.stack}"
        basis = f"measured: {many}, worth {result.worth:.2g} long ones of this job, counts {100 * result.weight:.0f} %"
        return Learnt(result.speed, basis, len(found), result.weight)

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
    return copied_here(state, "measurements")
