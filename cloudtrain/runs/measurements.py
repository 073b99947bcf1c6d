"""What a run has measured, kept in the state so that later quotes for the same machine are better."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from cloudtrain.errors import UsageError
from cloudtrain.quote import measured
from cloudtrain.quote.measured import FILE

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run
    from cloudtrain.state.protocol import Store

LEAST_TOKENS = 1000  # a shorter run measures its own start-up


def learn(run: Run) -> None:
    """Add what a run that is over has measured to the state's measurements, once. Too little adds nothing."""
    from cloudtrain.runs import out_of_memory

    short, before = out_of_memory.is_short(run), run.document("measured.json")
    if before is not None and bool(before.get("out_of_memory")) == short:
        return
    found = out_of_memory.measurement(run) if short else speed(run)
    if found is None:
        return
    run.write("measured.json", found)
    run.store.append(FILE, json.dumps(found).encode())
    refresh(run.store)


def speed(run: Run) -> dict[str, Any] | None:
    """Speed and peak of a finished run; None when it was too short."""
    from cloudtrain.runs import out_of_memory

    line, done = run.quote.get("line", {}), run.exit or {}
    recipe, speed, tokens = line.get("recipe") or {}, done.get("tokens_per_second"), done.get("tokens") or 0
    flops = run.quote.get("flops_per_token")
    if not speed or not flops or tokens < LEAST_TOKENS:
        return None
    estimate = out_of_memory.Estimate.of(run)
    return {
        "run": run.id,
        "time": done.get("ended_at"),
        "model": None if estimate is None else estimate.request.spec.name,
        "hardware": line["hardware"],
        "count": line["count"],
        "method": recipe.get("method"),
        "stack": recipe.get("stack"),
        "dtype": recipe.get("dtype", "bf16"),
        "tokens_per_second": speed,
        "flops_per_s": speed * flops,
        "peak_bytes": out_of_memory.measured_peak(run) or None,
        "required_bytes": line.get("required_bytes"),
    }


def refresh(store: Store) -> None:
    """Copy the measurements of a state in a bucket to where a quote, which asks no network for them, finds them."""
    path = measured.kept_here(store.url)
    if path is None:
        return
    with contextlib.suppress(UsageError, OSError):
        data = store.read(FILE)
        if data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
