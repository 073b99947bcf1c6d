"""Fine-tune a language model as a job file says: `python train.py job.json`.

Progress is JSON lines on the standard output. Exit codes: 0 done, 64 bad job, 65 bad data, 70 accelerator missing,
75 stopped and resumable, 137 out of memory, 1 anything else. Started again with the same job it resumes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import course
from devices import BACK_END, try_accelerator
from events import Events
from job import Job

# What a checkpoint of TRL's holds only for resuming, besides files that begin with rng_state.
STATE = {
    "moments.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "trainer_state.json",
    "training_args.bin",
}


def main(arguments: list[str]) -> int:
    """Run the job whose file is the one argument; returns the exit code."""
    return course.main(arguments, course.BackEnd(BACK_END, _devices, _wake, _settle, _load, _is_state))


def _devices(job: Job) -> dict[str, Any]:
    """Nothing: PyTorch sees them only after an import of seconds."""
    return {}


def _wake(job: Job) -> None:
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if job.report == "tensorboard":
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(Path(job.checkpoint.folder) / "tensorboard")
    try_accelerator(job.accelerator)
    import loop  # noqa: F401  # here, and not when the data has been counted: the events come one after another


def _settle(job: Job, events: Events, resume: Path | None) -> Job:
    import number_type

    return number_type.settle(job, events, resume)


def _load(job: Job, given: course.Given) -> course.Loaded:
    """The trainer with its model loaded."""
    import loading
    import loop

    data = loop.dataset(given.train), loop.dataset(given.evaluation) if given.evaluation else None
    model = loading.load_model(job)
    adapter = loading.adapter_config(job, model) if job.adapter else None
    trainer = loop.build(job, model, adapter, given.tokenizer, data, loop.Watcher(given.reports))
    adapted: Any = trainer.model
    if adapter is not None:
        loading.check_adapters(adapted)
        trainable, total = adapted.get_nb_trainable_parameters()
    else:
        counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
        trainable, total = sum(count for count, learns in counts if learns), sum(count for count, _ in counts)
    about = {"trainer": "plain"} if trainer.fast is None else trainer.fast.about
    return course.Loaded(trainable, total, about, lambda: loop.run(trainer, given.resume))


def _is_state(name: str) -> bool:
    return name in STATE or name.startswith("rng_state")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
