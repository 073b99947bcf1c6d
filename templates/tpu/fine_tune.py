"""Fine-tune a language model in JAX as a job file says: `python fine_tune.py job.json`.

The same job, events, exit codes and output as those of the torch trainer: docs/trainer.md. Started again with the same
job it resumes, also from a checkpoint that the torch trainer wrote.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import checkpoints
import chips
import course
import hosts
from events import Events
from job import Job
from reports import COMPUTE


def main(arguments: list[str]) -> int:
    """Run the job whose file is the one argument; returns the exit code."""
    code = course.main(arguments, course.BackEnd(chips.BACK_END, chips.see, _wake, _settle, _load, _is_state))
    return hosts.joined().end(code)


def _wake(job: Job) -> None:
    import training  # noqa: F401  # here, and not when the data has been counted: the events come one after another


def _settle(job: Job, events: Events, resume: Path | None) -> Job:
    """The job with `compute` decided: a resumed run never changes its type, or its losses would be others."""
    before = None if resume is None else checkpoints.progress(resume).get(COMPUTE)
    if before in ("bf16", "fp32"):
        name, why = before, "as the checkpoint was computed in"
    elif job.compute in ("bf16", "fp32"):
        name, why = job.compute, "the job says so"
    else:
        name = "bf16" if chips.in_bf16(job) else "fp32"
        why = "it is an accelerator" if name == "bf16" else "JAX on a processor is slower in bf16"
    events.emit("compute", type=name, why=why)
    return replace(job, compute=name)  # type: ignore[arg-type]  # one of the two


def _load(job: Job, given: course.Given) -> course.Loaded:
    import training

    return training.load(job, given)


def _is_state(name: str) -> bool:
    import state

    return state.is_state(name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
