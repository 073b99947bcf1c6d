"""The trainer's job file, made from a spec: what the program on the machine reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import UsageError
from cloudtrain.plan import GRACE_S

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.spec.schema import Spec
    from templates.common import limits  # the same file, where a type checker finds it
else:
    from cloudtrain.templates.common import limits

EVEN_TWICE = 2.0  # the capacity that every trainer takes unasked


def job_document(spec: Spec, model: ModelSpec, run: str, folder: Path, deadline: float | None = None) -> dict[str, Any]:
    """The job as JSON, for a processor; paths are absolute. A model folder is used as it is, else the hub id."""
    return {
        "run": run,
        "model": model.path if model.path and Path(spec.model).is_dir() else model.hub_id,
        "revision": spec.revision,
        "method": spec.method,
        **({"quantisation": spec.quantisation} if spec.quantisation and spec.method == "qlora" else {}),
        **({} if spec.expert_capacity == EVEN_TWICE else {"expert_capacity": spec.expert_capacity}),
        "lora": {
            "rank": spec.lora.rank,
            "alpha": spec.lora.alpha,
            "dropout": spec.lora.dropout,
            "targets": targets(spec.lora.targets),
        },
        "train_layers": spec.train_layers,
        "data": {
            "path": spec.data.path,
            "format": spec.data.format,
            "eval_path": spec.data.eval_path,
            "eval_fraction": spec.data.eval_fraction,
        },
        "sequence_length": spec.sequence_length,
        "packing": spec.packing,
        "train_on": spec.train_on,
        "micro_batch": spec.micro_batch or 1,
        "grad_accum": spec.accumulation_steps,
        "epochs": spec.epochs or 1.0,
        "max_steps": spec.max_steps,
        "lr": spec.lr,
        "schedule": spec.schedule,
        "warmup": spec.warmup,
        "optimizer": spec.optimizer,
        "weight_decay": spec.weight_decay,
        "seed": spec.seed,
        "checkpoint": {
            "every_s": spec.checkpoint.every_s,
            "keep": spec.checkpoint.keep,
            "folder": str(folder / "ckpt"),
        },
        "eval": {"every_steps": spec.eval.every},
        "report": spec.report,
        "trainer": spec.trainer,
        "accelerator": "cpu",
        "output": str(folder / "output"),
        "deadline": deadline,
        "grace_s": GRACE_S,
    }


def on(job: dict[str, Any], flavour: str) -> dict[str, Any]:
    """The job for the accelerator of a flavour. Raises UsageError for what the flavour's back end cannot do.

    A row may be computed for software of others; a machine of it can be rented idle, and nothing of the job runs there.
    """
    backend = backends.flavours().get(flavour)
    if backend is None:
        return job
    if (beyond := refusal(backend, job)) is not None:
        raise beyond
    return {**job, "accelerator": backend.flavours[flavour].accelerator}


def refusal(backend: backends.BackEnd, job: dict[str, Any]) -> UsageError | None:
    """What a back end cannot do of the job, and what it takes instead; None where it can do all of it."""
    beyond = limits.refusal(backend.cannot, job)
    if beyond is None:
        return None
    return UsageError(
        f"the `{backend.name}` trainer does not do `{beyond.field}: {shown(beyond.value)}`: {beyond.why}",
        f"it takes {' or '.join(shown(value) for value in beyond.only)}",
    )


def on_chips(job: dict[str, Any], flavour: str, chip: str, devices: int) -> dict[str, Any]:
    """The job that ends early where the machine has not these devices; a processor is what it is."""
    backend = backends.flavours().get(flavour)
    return job if backend is None or backend.on_the_host(flavour) else {**job, "chip": chip, "devices": devices}


def in_type(job: dict[str, Any], dtype: str) -> dict[str, Any]:
    """The job on a row whose memory was counted in `dtype`: for float32, the trainer may take whichever is faster."""
    return {**job, "compute": "measured"} if dtype == "fp32" else job


def packed_in(job: dict[str, Any], quantisation: str) -> dict[str, Any]:
    """The job with what the row's memory was counted for: NF4 is what every trainer does unasked."""
    return job if quantisation == "nf4" or job["method"] != "qlora" else {**job, "quantisation": quantisation}


def in_batches(job: dict[str, Any], size: int) -> dict[str, Any]:
    """The job with so many sequences at once, if these divide a step of the optimizer: its steps stay what they are."""
    times, rest = divmod(job["micro_batch"] * job["grad_accum"], size)
    return job if rest else {**job, "micro_batch": size, "grad_accum": times}


def shown(value: object) -> str:
    """A value as it is written in a spec."""
    return value if isinstance(value, str) else json.dumps(value)


def targets(found: str | tuple[str, ...]) -> str | list[str]:
    """A group name, or the module names as a list."""
    return found if isinstance(found, str) else list(found)
