"""Fine-tune a language model as a job file says: `python train.py job.json`.

Progress is JSON lines on the standard output. Exit codes: 0 done, 64 bad job, 65 bad data, 70 accelerator missing,
75 stopped and resumable, 137 out of memory, 1 anything else. Started again with the same job it resumes.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import checkpoints
import machine
import output
from devices import ACCELERATORS, BACK_END, try_accelerator
from events import Events, claim_stdout
from failures import BadJob, Failure, Preempted, as_failure
from job import Job, in_whole_steps, read
from packing import total_steps
from reader import read_rows
from rows import Row
from stop import Stop, report
from tokens import Encoder, Prepared, load_tokenizer

# What a checkpoint of TRL's holds only for resuming, besides files that begin with rng_state.
STATE = {"optimizer.pt", "scheduler.pt", "scaler.pt", "trainer_state.json", "training_args.bin"}


def main(arguments: list[str]) -> int:
    """Run the job whose file is the one argument; returns the exit code."""
    began = time.monotonic()
    try:
        if len(arguments) != 1:
            raise BadJob("usage: python train.py job.json")
        job = read(Path(arguments[0]), BACK_END)
        machine.start_again_with_environment(ACCELERATORS[machine.played_by(job.accelerator)])
    except Failure as failure:
        return report(claim_stdout(), failure)
    events = claim_stdout()
    stop = Stop()
    try:
        _fine_tune(job, events, stop, began)
    except BaseException as error:
        if stop.is_early:  # not Interrupted alone: lazy imports wrap it in errors of their own
            return report(events, Preempted(stop.reason))
        why = as_failure(error)
        if type(why) is Failure:
            traceback.print_exc()
        return report(events, why)
    return 0


def _fine_tune(job: Job, events: Events, stop: Stop, began: float) -> None:
    threads = machine.set_threads()
    played_by = machine.played_by(job.accelerator)
    machine.look_for_accelerator(ACCELERATORS[played_by])
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
        final = _steps(job, events, stop, store, resume)
    stop.act = lambda: None  # from here to the end it is quicker to finish
    metrics = output.metrics(job, final, time.monotonic() - began, *_losses(final))
    output.write(job, final, metrics, lambda name: name in STATE or name.startswith("rng_state"))
    reported = (
        "steps",
        "tokens",
        "seconds",
        "train_seconds",
        "tokens_per_second",
        "peak_bytes",
        "final_loss",
        "eval_loss",
    )
    events.emit("done", **{key: metrics[key] for key in reported})


def _losses(checkpoint: Path) -> tuple[output.Losses, output.Losses]:
    """Losses of training and evaluation by step, as TRL has noted them."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    losses = [[entry["step"], entry["loss"]] for entry in history if "loss" in entry]
    return losses, [[entry["step"], entry["eval_loss"]] for entry in history if "eval_loss" in entry]


def _pretence(accelerator: str, played_by: str) -> dict[str, str]:
    """What the `start` event adds where the CPU plays a simulation's accelerator; said on the standard error too."""
    if accelerator == played_by:
        return {}
    print(f"simulation: the accelerator `{accelerator}` is played by the CPU of this machine", file=sys.stderr)
    return {"played_by": played_by}


def _steps(job: Job, events: Events, stop: Stop, store: checkpoints.Store, resume: Path | None) -> Path:
    """Make the optimizer steps that are left. Returns the final checkpoint; raises Preempted when stopped before it."""
    found = read_rows(job)  # before the slow imports: bad data is reported at once
    try_accelerator(job.accelerator)
    import loop
    import number_type

    tokenizer = load_tokenizer(job)
    train, evaluation = _documents(job, tokenizer, *found)
    data = loop.dataset(train.documents, job), loop.dataset(evaluation.documents, job) if evaluation else None
    steps = total_steps(len(data[0]), job.micro_batch, job.grad_accum, job.epochs, job.max_steps)
    counts = {"tokens": train.tokens, "tokens_trained": train.tokens_trained, "truncated": train.truncated}
    events.emit("data", rows=len(found[0]), dropped=train.dropped, steps=steps, **counts)
    job = number_type.settle(job, events, resume)
    progress = loop.Progress(steps, evaluates=evaluation is not None)
    if resume is not None:
        progress.resume(checkpoints.progress(resume))
    trainer = _load(job, events, tokenizer, data, loop.Watcher(job, store, progress, events))

    def at_step_boundary() -> None:
        progress.stop = stop.reason

    stop.act = at_step_boundary
    if stop.reason:  # a library has swallowed the interruption
        stop.act()
    loop.run(trainer, resume)
    final = store.newest()
    if final is None or checkpoints.step_of(final) < steps:
        raise Preempted(progress.stop)
    return final


def _load(job: Job, events: Events, tokenizer: Any, data: tuple[Any, Any], watcher: Any) -> Any:
    """The trainer with its model loaded."""
    import loading
    import loop

    began = time.monotonic()
    model = loading.load_model(job)
    adapter = loading.adapter_config(job, model) if job.adapter else None
    trainer = loop.build(job, model, adapter, tokenizer, data, watcher)
    adapted: Any = trainer.model
    if adapter is not None:
        loading.check_adapters(adapted)
        trainable, total = adapted.get_nb_trainable_parameters()
    else:
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
        trainable, total = sum(count for count, learns in counts if learns), sum(count for count, _ in counts)
    events.emit("loaded", seconds=time.monotonic() - began, trainable=trainable, total=total)
    return trainer


def _documents(job: Job, tokenizer: Any, train: list[Row], held_out: list[Row]) -> tuple[Prepared, Prepared | None]:
    encoder = Encoder(tokenizer, job.train_on)
    prepared = encoder.prepare(train, job.sequence_length)
    return prepared, encoder.prepare(held_out, job.sequence_length) if held_out else None


def _quiet(job: Job) -> None:
    """Settings of the libraries, made before they are imported: no hub for a local model, no chatter, no telemetry."""
    if Path(job.model).is_dir():
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_XET_CHUNK_CACHE_SIZE_BYTES", "0")  # 10 GB in some builds, of weights that are read once
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    if job.report == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(job.checkpoint.folder) / "tensorboard")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
