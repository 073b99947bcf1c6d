"""The course of a run, the same with every trainer: job, resume, data, training, result, and how each end is told.

What computes is the back end's: a program makes a `BackEnd` of its functions and ends with `course.main`'s exit code.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import checkpoints
import machine
import output
from events import Events, claim_stdout
from failures import BadJob, Failure, Preempted, as_failure
from job import Job, in_whole_steps, read
from packing import Rows, in_rows, total_steps
from reader import read_rows
from reports import Progress, Reports
from stop import Stop, report
from tokens import Encoder, load_tokenizer

HISTORY = "trainer_state.json"  # of a checkpoint: losses by step, as transformers notes them, whoever trains
REPORTED = (
    "steps",
    "tokens",
    "seconds",
    "train_seconds",
    "tokens_per_second",
    "peak_bytes",
    "final_loss",
    "eval_loss",
)


class Given(NamedTuple):
    """What a back end is given to train: rows to train on and to evaluate on, and whom to report to."""

    tokenizer: Any
    train: Rows
    evaluation: Rows | None
    reports: Reports
    resume: Path | None  # the checkpoint to go on from


class Loaded(NamedTuple):
    """A back end that is ready: parameters that learn and all, more for the `loaded` event, and what makes the steps.

    `run` makes the steps that are left, or stops at a step boundary once `Progress.stop` says why, with a checkpoint.
    """

    trainable: int
    total: int
    about: dict[str, Any]
    run: Callable[[], None]


class BackEnd(NamedTuple):
    """What computes. Its functions are called in this order; `wake` is where slow imports belong."""

    description: Mapping[str, Any]  # its backend.json
    devices: Callable[[Job], dict[str, Any]]  # what `start` says of them beside the accelerator. Raises NoAccelerator
    wake: Callable[[Job], None]  # makes the libraries' settings, imports them, tries the accelerator
    settle: Callable[[Job, Events, Path | None], Job]  # decides `compute`, with one event that says how
    load: Callable[[Job, Given], Loaded]  # Raises BadJob for a model that cannot be trained
    is_state: Callable[[str], bool]  # whether a file of a checkpoint is only for resuming


def main(arguments: list[str], back_end: BackEnd) -> int:
    """Run the job whose file is the one argument; returns the exit code."""
    began = time.monotonic()
    accelerators = back_end.description["accelerators"]
    try:
        if len(arguments) != 1:
            raise BadJob(f"usage: python {Path(sys.argv[0]).name} job.json")
        job = read(Path(arguments[0]), back_end.description)
        machine.start_again_with_environment(accelerators[machine.played_by(job.accelerator)])
    except Failure as failure:
        return report(claim_stdout(), failure)
    events = claim_stdout()
    stop = Stop()
    try:
        fine_tune(job, back_end, events, stop, began)
    except BaseException as error:
        if stop.is_early:  # not Interrupted alone: lazy imports wrap it in errors of their own
            return report(events, Preempted(stop.reason))
        why = as_failure(error)
        if type(why) is Failure:
            traceback.print_exc()
        return report(events, why)
    return 0


def fine_tune(job: Job, back_end: BackEnd, events: Events, stop: Stop, began: float) -> None:
    """One run, from its `start` to its `done`; `began` is when, by the monotonic clock."""
    threads = machine.set_threads()
    played_by = machine.played_by(job.accelerator)
    machine.look_for_accelerator(back_end.description["accelerators"][played_by])
    store = checkpoints.Store(Path(job.checkpoint.folder), job.checkpoint.keep)
    resume = store.newest()
    if resume is not None and in_whole_steps(checkpoints.progress(resume)["recipe"]) != job.recipe:
        raise BadJob(f"the checkpoints in {store.folder} belong to another job: use another folder")
    events.emit(
        "start",
        run=job.run,
        model=job.model,
        method=job.method,
        accelerator=job.accelerator,
        **_pretence(job.accelerator, played_by),
        **back_end.devices(replace(job, accelerator=played_by)),
        threads=threads,
        process=os.getpid(),
        resumed_from=0 if resume is None else checkpoints.step_of(resume),
    )
    job = replace(job, accelerator=played_by)
    if job.deadline is not None:
        machine.guard_deadline(job.deadline, job.grace_s, stop.because)
    store.prepare()
    _quiet(job)
    if resume is not None and checkpoints.step_of(resume) >= checkpoints.progress(resume)["steps"]:
        final = resume  # it died between its last step and its result
    else:
        made = _steps(job, back_end, events, stop, store, resume)
        if made is None:
            return
        final = made
    stop.act = lambda: None  # from here to the end it is quicker to finish
    metrics = output.metrics(job, final, time.monotonic() - began, *_losses(final))
    output.write(job, final, metrics, back_end.is_state)
    events.emit("done", **{key: metrics[key] for key in REPORTED})


def _steps(
    job: Job, back_end: BackEnd, events: Events, stop: Stop, store: checkpoints.Store, resume: Path | None
) -> Path | None:
    """Make the optimizer steps that are left. Returns the final checkpoint; None, after `done`, where host 0 has it.

    Raises Preempted when stopped before it.
    """
    found, held_out = read_rows(job)  # before the slow imports: bad data is reported at once
    back_end.wake(job)
    tokenizer = load_tokenizer(job)
    encoder = Encoder(tokenizer, job.train_on)
    train = encoder.prepare(found, job.sequence_length)
    evaluation = encoder.prepare(held_out, job.sequence_length) if held_out else None
    rows = in_rows(train.documents, job.sequence_length, job.packing)
    steps = total_steps(len(rows.groups), job.micro_batch, job.grad_accum, job.epochs, job.max_steps)
    counts = {"tokens": train.tokens, "tokens_trained": train.tokens_trained, "truncated": train.truncated}
    events.emit("data", rows=len(found), dropped=train.dropped, steps=steps, **counts)
    job = back_end.settle(job, events, resume)
    progress = Progress(steps, evaluates=evaluation is not None)
    if resume is not None:
        progress.resume(checkpoints.progress(resume))
    kept = in_rows(evaluation.documents, job.sequence_length, job.packing) if evaluation else None
    began = time.monotonic()
    loaded = back_end.load(job, Given(tokenizer, rows, kept, Reports(job, store, progress, events), resume))
    told = {"trainable": loaded.trainable, "total": loaded.total, **loaded.about}
    events.emit("loaded", seconds=time.monotonic() - began, **told)

    def at_step_boundary() -> None:
        progress.stop = stop.reason

    stop.act = at_step_boundary
    if stop.reason:  # a library has swallowed the interruption
        stop.act()
    loaded.run()
    if progress.elsewhere:
        events.emit("done", steps=steps, tokens=progress.tokens, train_seconds=progress.train_seconds)
        return None
    final = store.newest()
    if final is None or checkpoints.step_of(final) < steps:
        raise Preempted(progress.stop)
    return final


def _losses(checkpoint: Path) -> tuple[output.Losses, output.Losses]:
    """Losses of training and evaluation by step."""
    history = json.loads((checkpoint / HISTORY).read_text())["log_history"]
    losses = [[entry["step"], entry["loss"]] for entry in history if "loss" in entry]
    return losses, [[entry["step"], entry["eval_loss"]] for entry in history if "eval_loss" in entry]


def _pretence(accelerator: str, played_by: str) -> dict[str, str]:
    """What the `start` event adds where the CPU plays a simulation's accelerator; said on the standard error too."""
    if accelerator == played_by:
        return {}
    print(f"simulation: the accelerator `{accelerator}` is played by the CPU of this machine", file=sys.stderr)
    return {"played_by": played_by}


def _quiet(job: Job) -> None:
    """Settings of the hub's libraries: no hub for a local model, no chatter, no telemetry."""
    if Path(job.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_XET_CHUNK_CACHE_SIZE_BYTES", "0")  # 10 GB in some builds, of weights that are read once
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
