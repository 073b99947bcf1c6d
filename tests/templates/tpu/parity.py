"""Run in the JAX environment: how far our decoder is from what `reference.py` has written, one JSON line a family.

python parity.py FOLDER FAMILY...
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import adapters
import decoder
import jax
import jax.numpy as jnp
import model
import numpy as np
import optax
import weights
from safetensors.numpy import load_file

FOLDER, FAMILIES = Path(sys.argv[1]), sys.argv[2:]
RATE = 1e-3


def batch_of(answer: dict[str, Any]) -> model.Batch:
    """The reference's rows in our form: each position's label is the next token of its document."""
    positions, labels = answer["positions"], answer["labels"]
    following = np.concatenate([labels[:, 1:], np.full_like(labels[:, :1], model.IGNORED)], 1)
    segments = np.cumsum(positions == 0, 1)
    return model.Batch(*(jnp.asarray(it, jnp.int32) for it in (answer["tokens"], following, positions, segments)))


def apart(ours: Any, theirs: Any) -> float:
    """Relative difference by the Frobenius norm."""
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def compare(family: str) -> dict[str, Any]:
    """Logits, losses and gradients of one family."""
    began = time.process_time()
    folder = FOLDER / family
    known = decoder.read(folder)
    loaded = weights.load(folder, known, dtype=jnp.float32)
    answer = load_file(folder / "answer.safetensors")
    batch, how = batch_of(answer), model.How(jnp.float32)
    start = jax.tree.map(jnp.asarray, adapters.read(folder / "adapter", known))
    trained = (batch.labels != model.IGNORED).sum()
    loss = jax.jit(jax.value_and_grad(lambda pairs: model.loss_sum(known, how, loaded, pairs, batch) / trained))
    logits = jax.jit(lambda pairs: model.logits(known, how, loaded, pairs, batch))(start)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(RATE, weight_decay=0.0))
    pairs, memory, losses, gradients = start, rule.init(start), [], None
    update = jax.jit(rule.update)
    for _ in range(len(answer["losses"])):
        value, gradient = loss(pairs)
        gradients = gradient if gradients is None else gradients
        losses.append(float(value))
        change, memory = update(gradient, memory, pairs)
        pairs = optax.apply_updates(pairs, change)
    theirs = adapters.read(folder / "gradients.safetensors", known)
    return {
        "family": family,
        "logits": float(np.abs(np.asarray(logits) - answer["logits"]).max() / np.abs(answer["logits"]).max()),
        "losses": max(abs(a - b) / b for a, b in zip(losses, answer["losses"].tolist(), strict=True)),
        "gradients": {f"{n}.{s}": apart(gradients[n][s], theirs[n][s]) for n in theirs for s in theirs[n]},
        "cpu_s": time.process_time() - began,
    }


for each in FAMILIES:
    try:
        print(json.dumps(compare(each)), flush=True)
    except Exception as error:
        import traceback

        traceback.print_exc()
        print(json.dumps({"family": each, "error": f"{type(error).__name__}: {error}"}), flush=True)
