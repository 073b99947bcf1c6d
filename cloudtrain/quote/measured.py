"""What this state's own runs measured: it goes before the shipped efficiency of the same hardware, method, stack."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cloudtrain.offer import Offer, Range

if TYPE_CHECKING:
    from cloudtrain.quote.recipes import Recipe
    from cloudtrain.quote.request import Request

FILE = "measurements.jsonl"
NEWEST = 200  # lines looked at
ONE_RUN_FACTOR = 1.3  # how far one run may mislead about another model or length
SEVERAL_RUNS_FACTOR = 1.15


@dataclass(frozen=True)
class Measurements:
    """Measured runs, oldest first: {hardware, count, method, stack, flops_per_s, ...}."""

    runs: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of_state(cls, state: str) -> Measurements:
        """What a state holds; of one in a bucket what was last copied here. A damaged line is passed over."""
        try:
            with open(kept_here(state) or os.path.join(state, FILE), encoding="utf-8") as file:
                lines = file.readlines()[-NEWEST:]
        except OSError:
            return cls()
        runs = []
        for line in lines:
            try:
                run = json.loads(line)
                if isinstance(run, dict) and (run.get("out_of_memory") or float(run["flops_per_s"]) > 0):
                    runs.append(run)
            except (ValueError, KeyError, TypeError):
                continue
        return cls(tuple(runs))

    def rate(self, offer: Offer, recipe: Recipe, request: Request) -> tuple[Range, str] | None:
        """Tokens per second of the offer's machine from runs on the same machine; None when there is none."""
        found = [
            float(run["flops_per_s"])
            for run in self.runs
            if run.get("flops_per_s")
            and (run.get("hardware"), run.get("count"), run.get("method"), run.get("stack"))
            == (offer.hardware, offer.count, request.method, recipe.stack)
            and run.get("dtype", "bf16") == recipe.options.dtype
        ]
        if not found:
            return None
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
            float(run["peak_bytes"]) / float(run["required_bytes"])
            for run in self.runs
            if (run.get("model"), run.get("method"), run.get("stack")) == wanted
            and run.get("peak_bytes")
            and run.get("required_bytes")
        ]
        return max([1.0, *found])


def kept_here(state: str) -> Path | None:
    """Where the measurements of a state in a bucket are copied to; None for a state in a folder, which has its own."""
    if "://" not in state:
        return None
    from cloudtrain.settings import cache_folder

    return cache_folder() / "measurements" / f"{hashlib.sha256(state.encode()).hexdigest()[:16]}.jsonl"
