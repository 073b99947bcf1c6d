"""A checkpoint: the adapter as PEFT files, the tokenizer, the losses so far, and what the optimizer remembers.

The torch trainer goes on from it, and this one from the torch trainer's: `common/moments.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import adapters
import course
import jax
import moments
import numpy as np
from decoder import Decoder
from job import Job
from learn import State
from safetensors.numpy import load_file, save_file

MEMORY = "memory.safetensors"  # of optimizers whose memory no other back end can use
STATE = {moments.FILE, MEMORY, course.HISTORY}
# What transformers wants to find in its own file before it goes on with somebody else's.
_TRANSFORMERS = {"logging_steps": 1, "stateful_callbacks": {"TrainerControl": {"args": {}, "attributes": {}}}}
TORCHS = {"optimizer.pt", "scheduler.pt", "scaler.pt", "training_args.bin"}  # in a checkpoint of the torch trainer


def is_state(name: str) -> bool:
    """Whether a file of a checkpoint is only for resuming, whichever trainer wrote it."""
    return name in STATE | TORCHS or name.startswith("rng_state")


class Saved(NamedTuple):
    """What is saved beside what the job says."""

    decoder: Decoder
    state: State
    tokenizer: Any
    history: list[dict[str, Any]]  # losses of steps and evaluations, as transformers notes them


def save(folder: Path, job: Job, saved: Saved, last: bool) -> None:
    """Write the checkpoint of the step that the history ends with. The last one is never gone on from."""
    decoder, state, tokenizer, history = saved
    folder.mkdir(parents=True)
    adapters.write(folder, decoder, state.trained, job.model, job.lora.alpha, job.lora.dropout)
    tokenizer.save_pretrained(str(folder))
    step = max((entry["step"] for entry in history), default=0)
    told = {"global_step": step, "train_batch_size": job.micro_batch, "log_history": history, **_TRANSFORMERS}
    (folder / course.HISTORY).write_text(json.dumps(told, indent=1))
    if last:
        return
    found = _adam(state.memory)
    if found is not None:
        means = {
            "exp_avg": adapters.tensors_of(decoder, found.mu),
            "exp_avg_sq": adapters.tensors_of(decoder, found.nu),
        }
        named = dict(moments.each(means["exp_avg"], lambda name, kind: means[kind][name]))
        save_file(named, folder / moments.FILE)
    elif jax.tree.leaves(state.memory):
        leaves, _ = jax.tree_util.tree_flatten_with_path(state.memory)
        save_file({jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}, folder / MEMORY)


def history(checkpoint: Path) -> list[dict[str, Any]]:
    """The losses of a checkpoint's steps and evaluations."""
    found: list[dict[str, Any]] = json.loads((checkpoint / course.HISTORY).read_text())["log_history"]
    return found


def fresh(job: Job, decoder: Decoder) -> Any:
    """The adapters that a run begins with, as arrays of the host."""
    return adapters.fresh(decoder, job.lora.rank, job.seed, job.lora.targets)


def trained(checkpoint: Path, decoder: Decoder) -> Any:
    """The adapters of a checkpoint, as arrays of the host."""
    return adapters.read(checkpoint, decoder)


def memory(checkpoint: Path, decoder: Decoder, fresh: Any, step: int) -> Any | None:
    """What the optimizer remembers after `step`, in the shape of `fresh`; None where the checkpoint does not tell."""
    adam, path = _adam(fresh), checkpoint / (MEMORY if _adam(fresh) is None else moments.FILE)
    if not jax.tree.leaves(fresh):
        return fresh
    if not path.exists():
        return None
    if adam is None:
        found = load_file(path)
        return jax.tree_util.tree_map_with_path(lambda at, leaf: found[jax.tree_util.keystr(at)], fresh)
    tensors = load_file(path)
    parameters = adapters.tensors_of(decoder, adam.mu)
    if not moments.covers(tensors, parameters):
        return None
    means = (
        adapters.stacks_of(decoder, {name: tensors[moments.key(name, kind)] for name in parameters}, path)
        for kind in moments.KINDS
    )
    restored = adam._replace(count=np.asarray(step, np.int32), **dict(zip(("mu", "nu"), means, strict=True)))
    return jax.tree.map(lambda it: restored if it is adam else it, fresh, is_leaf=lambda it: it is adam)


def _adam(memory: Any) -> Any | None:
    """The state of AdamW in an optimizer's memory."""
    leaves = jax.tree.leaves(memory, is_leaf=_is_adam)
    return next((leaf for leaf in leaves if _is_adam(leaf)), None)


def _is_adam(node: Any) -> bool:
    return hasattr(node, "mu") and hasattr(node, "nu")
