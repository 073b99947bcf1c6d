"""What a finished run has measured, kept in the state so that later quotes for the same machine are better."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cloudtrain.quote.measured import FILE

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run

LEAST_TOKENS = 1000  # a shorter run measures its own start-up


def learn(run: Run) -> None:
    """Add the run's speed to the state's measurements, once. A run that measured too little adds nothing."""
    line, done = run.quote.get("line", {}), run.exit or {}
    recipe, speed, tokens = line.get("recipe") or {}, done.get("tokens_per_second"), done.get("tokens") or 0
    flops = run.quote.get("flops_per_token")
    if not speed or not flops or tokens < LEAST_TOKENS or run.document("measured.json") is not None:
        return
    measurement = {
        "run": run.id,
        "time": done.get("ended_at"),
        "hardware": line["hardware"],
        "count": line["count"],
        "method": recipe.get("method"),
        "stack": recipe.get("stack"),
        "tokens_per_second": speed,
        "flops_per_s": speed * flops,
        "peak_bytes": done.get("peak_bytes"),
        "required_bytes": line.get("required_bytes"),
    }
    run.write("measured.json", measurement)
    run.store.append(FILE, json.dumps(measurement).encode())
