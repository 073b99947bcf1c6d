"""What this state's own runs measured: it goes before the shipped efficiency of the same hardware, method, stack."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from cloudtrain.seams import Offer, Range

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
        """What a state folder holds; nothing for a state elsewhere or none yet. A damaged line is passed over."""
        try:
            with open(os.path.join(state, FILE), encoding="utf-8") as file:
                lines = file.readlines()[-NEWEST:]
        except OSError:
            return cls()
        runs = []
        for line in lines:
            try:
                run = json.loads(line)
                if isinstance(run, dict) and float(run["flops_per_s"]) > 0:
                    runs.append(run)
            except (ValueError, KeyError, TypeError):
                continue
        return cls(tuple(runs))

    def rate(self, offer: Offer, recipe: Recipe, request: Request) -> tuple[Range, str] | None:
        """Tokens per second of the offer's machine from runs on the same machine; None when there is none."""
        found = [
            float(run["flops_per_s"])
            for run in self.runs
            if (run.get("hardware"), run.get("count"), run.get("method"), run.get("stack"))
            == (offer.hardware, offer.count, request.method, recipe.stack)
        ]
        if not found:
            return None
        per_token = request.flops_per_token()
        factor = ONE_RUN_FACTOR if len(found) == 1 else SEVERAL_RUNS_FACTOR
        rate = Range(min(found) / factor / per_token, median(found) / per_token, max(found) * factor / per_token)
        many = "run" if len(found) == 1 else "runs"
        return rate, f"measured: n = {len(found)} {many} of {request.method} here with {recipe.stack}"
