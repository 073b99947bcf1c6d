"""A trainer that learns nothing: reads the job and its rows, says steps, keeps checkpoints, stops when asked, resumes.

Every step's state depends on the one before, so that the result proves the way to it. After the step TOY_STAYS_AT it goes
no further until it is asked to stop.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))

import checkpoints
import machine
import output
from events import Events, claim_stdout
from failures import Preempted, as_failure
from job import Job, read
from packing import total_steps
from reader import read_rows
from stop import Stop, report

BACK_END: dict[str, Any] = json.loads(Path(__file__).with_name("backend.json").read_text())
EVERY = 4  # steps between two checkpoints


def main(arguments: list[str]) -> int:
    """Run the job whose file is the one argument; returns the exit code."""
    events, stop = claim_stdout(), Stop()
    try:
        job = read(Path(arguments[0]), BACK_END)
        machine.look_for_accelerator(BACK_END["accelerators"][machine.played_by(job.accelerator)])
        learn(job, events, stop)
    except BaseException as error:
        return report(events, Preempted(stop.reason) if stop.is_early else as_failure(error))
    return 0


def learn(job: Job, events: Events, stop: Stop) -> None:
    """Every step that is left."""
    store = checkpoints.Store(Path(job.checkpoint.folder), job.checkpoint.keep)
    at = store.newest()
    first = 0 if at is None else checkpoints.step_of(at)
    mood = os.environ.get("TOY_MOOD")
    events.emit("start", run=job.run, accelerator=job.accelerator, mood=mood, resumed_from=first)
    store.prepare()
    rows, _ = read_rows(job)
    steps = total_steps(len(rows), job.micro_batch, job.grad_accum, job.epochs, job.max_steps)
    tokens = sum(len(content.split()) for row in rows for _, content in row.turns)
    events.emit("data", rows=len(rows), tokens=tokens, tokens_trained=tokens, dropped=0, truncated=0, steps=steps)
    state = "" if at is None else (at / "adapter_model.bin").read_text()
    losses: list[list[float]] = [] if at is None else checkpoints.progress(at)["losses"]
    if job.deadline is not None:
        machine.guard_deadline(job.deadline, job.grace_s, stop.because)
    stop.act = lambda: None  # the next step looks
    began = time.monotonic()
    for step in range(first + 1, steps + 1):
        state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
        losses.append([step, 3.0 / step])
        figures = {"loss": 3.0 / step, "lr": 0.1, "tokens": tokens * step, "tokens_per_second": 1000.0}
        events.emit("step", step=step, of=steps, peak_bytes=machine.peak_bytes(), **figures)
        while step == int(os.environ.get("TOY_STAYS_AT", "0")) and not stop.reason:
            time.sleep(0.02)
        if step % EVERY == 0 or step == steps or stop.reason:
            save(store, step, state, {"tokens": tokens * step, "train_seconds": 1.0, "losses": losses})
            events.emit("checkpoint", step=step, seconds=0.0)
        if stop.reason and step < steps:
            raise Preempted(stop.reason)
    final = store.newest()
    assert final is not None
    figures = output.metrics(job, final, time.monotonic() - began, losses, [])
    output.write(job, final, figures, lambda name: name == "optimizer")
    told = ("steps", "tokens", "seconds", "train_seconds", "tokens_per_second", "peak_bytes", "final_loss", "eval_loss")
    events.emit("done", **{key: figures[key] for key in told})


def save(store: checkpoints.Store, step: int, state: str, progress: dict[str, Any]) -> None:
    """A checkpoint that looks like an adapter's."""
    folder = store.partial / str(step)
    folder.mkdir(parents=True)
    (folder / "adapter_model.bin").write_text(state)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "TOY"}))
    (folder / "optimizer").write_text("not for keeping")
    store.publish(folder, step, {**progress, "eval_loss": None, "peak_bytes": machine.peak_bytes()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
