"""The number type that a run computes in: of its checkpoint, of its job, or by measuring what is faster here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import checkpoints
import kept
from devices import computes_in_bf16
from events import Events
from job import Job
from products import TYPES, Shape, faster, race, shapes
from reports import COMPUTE


class Choice(NamedTuple):
    """`name` is bf16 or fp32; `rates` are operations per second of both, None where nothing was measured."""

    name: str
    why: str
    rates: dict[str, float] | None = None


def settle(job: Job, events: Events, resume: Path | None) -> Job:
    """The job with `compute` decided, and one `compute` event that says how."""
    saved = None if resume is None else checkpoints.progress(resume)
    found = choose(job, saved)
    rates = {f"{name}_flops_per_s": rate for name, rate in (found.rates or {}).items()}
    events.emit("compute", type=found.name, why=found.why, **rates)
    return replace(job, compute=found.name)  # type: ignore[arg-type]  # one of the two


def in_bf16(job: Job) -> bool:
    """Whether the job computes in bf16; one that was not settled goes by the processor. Imports torch."""
    if job.compute in ("bf16", "fp32"):
        return job.compute == "bf16"
    return computes_in_bf16(job.accelerator)


def choose(job: Job, saved: dict[str, Any] | None) -> Choice:
    """What the job computes in; `saved` is the progress of the checkpoint that it resumes, None for a new run.

    A resumed run never changes its type, or its losses would not be those of a run that was not interrupted. A new
    one measures, but takes float32 only where the plan has counted the memory for it (`compute: measured`).
    """
    by_processor = "bf16" if computes_in_bf16(job.accelerator) else "fp32"
    if saved is not None:
        before = saved.get(COMPUTE)  # none in a checkpoint of an older version
        return Choice(before if before in TYPES else by_processor, "as the checkpoint was computed in")
    if job.compute in ("bf16", "fp32"):
        return Choice(job.compute, "the job says so")
    if (fetched := kept.number_type(job)) is not None:
        return Choice(fetched, "as the 4-bit weights were made that were fetched")
    if by_processor == "fp32":
        return Choice("fp32", "this processor has no kernels for bf16")
    if job.accelerator != "cpu":
        return Choice("bf16", "it is an accelerator")
    rates = measured(shapes(job.micro_batch * job.sequence_length, *sizes(job)))
    ratio = f"float32 products are {rates['fp32'] / rates['bf16']:.2f} times as fast as bf16 here"
    best = faster(rates)
    if best == "fp32" and job.compute != "measured":
        return Choice("bf16", f"{ratio}, but the plan has not counted the memory of float32", rates)
    return Choice(best, ratio, rates)


def sizes(job: Job) -> tuple[int, int]:
    """Hidden and feed-forward size of the job's model; usual ones where its configuration does not say."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(job.model, revision=job.revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError):  # loading it will say so
        return 2048, 8192
    text = config.get_text_config()
    hidden = getattr(text, "hidden_size", None)
    hidden = hidden if isinstance(hidden, int) else 2048
    wide = getattr(text, "intermediate_size", None)
    return hidden, wide if isinstance(wide, int) else 4 * hidden


def measured(layers: list[Shape], **limits: Any) -> dict[str, float]:
    """Operations per second of both number types on this processor. Draws no random number: seeds stay as they are."""
    import torch

    types = {"bf16": torch.bfloat16, "fp32": torch.float32}

    def make(name: str, shape: Shape) -> Any:
        rows = torch.ones(shape.rows, shape.inputs, dtype=types[name])
        weights = torch.ones(shape.outputs, shape.inputs, dtype=types[name])
        return lambda: torch.nn.functional.linear(rows, weights)

    with torch.no_grad():
        return race(layers, make, **limits)
