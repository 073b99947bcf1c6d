"""What a run has reached, and how it is told: a `step`, `eval` or `checkpoint` event each, and the clock for saves."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
from events import Events
from failures import Diverged
from job import Job
from machine import peak_bytes
from moments import has_memory

COMPUTE = "compute"  # the key of a checkpoint's progress that holds the number type


@dataclass
class Progress:
    """What has been reached, over all resumes; and whether somebody asked to stop."""

    steps: int  # to be made in all
    tokens: int = 0  # positions processed, prompts included, padding not
    train_seconds: float = 0.0  # inside optimizer steps
    eval_loss: float | None = None
    peak_bytes: int = 0  # of the processes before this one
    evaluates: bool = False  # there are rows to evaluate on
    stop: str = ""  # why to stop at the next step boundary
    elsewhere: bool = False  # all steps are made, and another host of this machine has the result

    def saved(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {
            "steps": self.steps,
            "tokens": self.tokens,
            "train_seconds": self.train_seconds,
            "eval_loss": self.eval_loss,
            "peak_bytes": max(self.peak_bytes, peak_bytes()),
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Go on counting from a checkpoint's counters."""
        self.tokens, self.train_seconds = saved["tokens"], saved["train_seconds"]
        self.eval_loss, self.peak_bytes = saved["eval_loss"], saved["peak_bytes"]


class Reports:
    """A run's voice: tells every step, evaluation and save, and knows when the next save is due."""

    def __init__(self, job: Job, store: checkpoints.Store, progress: Progress, events: Events) -> None:
        self.job, self.store, self.progress, self.events = job, store, progress, events
        self.pace = checkpoints.Pace(job.checkpoint.every_s)
        self._step_began = 0.0
        self._tokens_before = 0
        self._rate = 0.0

    def begin_step(self) -> None:
        """Start the step's clock."""
        self._step_began = time.monotonic()
        self._tokens_before = self.progress.tokens

    def end_step(self) -> None:
        """Stop the step's clock."""
        seconds = time.monotonic() - self._step_began
        self.progress.train_seconds += seconds
        self._rate = (self.progress.tokens - self._tokens_before) / max(seconds, 1e-9)

    def saves_after(self, step: int) -> bool:
        """Whether to save: it is time to, it was the last step, or the run is asked to stop."""
        return self.pace.is_due() or step >= self.progress.steps or bool(self.progress.stop)

    def step(self, step: int, loss: float, rate: float) -> None:
        """One `step` event. Raises Diverged when the loss is no number."""
        self.events.emit(
            "step",
            step=step,
            of=self.progress.steps,
            loss=loss,
            lr=rate,
            tokens=self.progress.tokens,
            tokens_per_second=self._rate,
            peak_bytes=peak_bytes(),
        )
        if not math.isfinite(loss):
            raise Diverged(f"the loss is no longer a number at step {step}: lower the learning rate")

    def evaluated(self, step: int, loss: float) -> None:
        """One `eval` event."""
        self.progress.eval_loss = loss
        self.events.emit("eval", step=step, loss=loss)

    def starts_anew(self, step: int) -> None:
        """One `optimizer` event and a line: what the optimizer had learnt is not in the checkpoint in a form for us."""
        if has_memory(self.job.optimizer):
            why = f"another back end has saved step {step}: `{self.job.optimizer}` starts anew from its weights"
            print(why, file=sys.stderr)
            self.events.emit("optimizer", step=step, carried=False, why=why)

    def publish(self, written: Path, step: int) -> None:
        """Make the folder `written` the checkpoint of `step`, the end of a save that `pace` has seen begin."""
        saved = {**self.progress.saved(), "recipe": self.job.recipe, COMPUTE: self.job.compute}
        self.store.publish(written, step, saved)
        self.events.emit("checkpoint", step=step, seconds=self.pace.end())
