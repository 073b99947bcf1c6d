"""Run in the environment with JAX: what the TPU trainer's LongCat computes, as one JSON document.

python longcat_probe.py PART FOLDER   FOLDER is what longcat_reference.py has made; TEMPLATES is in the environment
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
sys.path[:0] = [f"{os.environ['TEMPLATES']}/{name}" for name in ("tpu", "common")]

import jax
import jax.numpy as jnp
import adapters as peft
import architectures
import decoder
import longcat
import longcat_experts
import longcat_model
import longcat_weights
import mesh as meshes
import numpy as np
import optax
from failures import Failure
from jax.sharding import Mesh
from model import IGNORED, Batch, How
from quantise import matrix
from safetensors.numpy import load_file, save_file

RANK, ALPHA, RATE = 4, 8, 1e-2
PLAIN = How(dtype=jnp.float32, scale=ALPHA / RANK, remat=True)


class Case:
    """The tiny model and its tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cat = decoder.read(folder / "model")
        self.answer = load_file(folder / "answer.safetensors")
        ids = self.answer["ids"].astype(np.int32)
        labels = np.full_like(ids, IGNORED)
        labels[:, :-1] = ids[:, 1:]
        at = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
        self.batch = Batch(*map(jnp.asarray, (ids, labels, at, np.ones_like(ids))))
        self.trained = int((labels != IGNORED).sum())

    def weights(self, mesh: Any = None, quantised: str = "", name: str = "model", dtype: Any = jnp.float32) -> Any:
        """Those of the model, or the gradients that look like them."""
        return longcat_weights.load(self.folder / name, self.cat, mesh, quantised, dtype)

    def mean(self, how: How, cat: Any = None) -> Any:
        """(weights, adapters) -> the mean loss, picks."""

        def loss(weights: Any, adapters: Any, batch: Batch) -> Any:
            total, picks = longcat_model.loss_sum(cat or self.cat, how, weights, adapters, batch)
            return total / self.trained, picks

        return loss


def worst(ours: Any, theirs: Any) -> float:
    """The largest relative (Frobenius) difference of two trees' arrays."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    sizes = [(np.linalg.norm(np.asarray(a) - np.asarray(b)), np.linalg.norm(np.asarray(b))) for a, b in pairs]
    return float(max(gap / size if size else gap for gap, size in sizes))


def parity(case: Case) -> dict[str, Any]:
    """Against transformers and PEFT: logits, loss, every weight's gradient, adapters' gradients, five steps."""
    weights = case.weights()
    logits = jax.jit(lambda it: longcat_model.logits(case.cat, PLAIN, it, None, case.batch))(weights)
    both = jax.jit(jax.value_and_grad(case.mean(PLAIN), has_aux=True))
    (loss, _), gradient = both(weights, None, case.batch)

    adapters = peft.read(case.folder / "adapter", case.cat)
    learned = jax.jit(jax.value_and_grad(case.mean(PLAIN), argnums=1, has_aux=True))
    theirs = peft.read(case.folder / "adapter_gradients.safetensors", case.cat)
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(RATE, weight_decay=0.0))
    memory, losses, first = rule.init(adapters), [], None
    for _ in range(5):
        (value, _), found = learned(weights, adapters, case.batch)
        first = found if first is None else first
        change, memory = rule.update(found, memory, adapters)
        adapters = optax.apply_updates(adapters, change)
        losses.append(float(value))
    (case.folder / "ours").mkdir(exist_ok=True)
    peft.write(case.folder / "ours", case.cat, adapters, str(case.folder / "model"), ALPHA)
    after = jax.jit(lambda it: longcat_model.logits(case.cat, PLAIN, weights, it, case.batch))(adapters)
    save_file({"logits": np.asarray(after)}, case.folder / "ours.safetensors")
    save_file({"ids": case.answer["ids"]}, case.folder / "theirs.safetensors")
    expected = case.weights(name="gradients")
    return {
        "logits": worst(logits, case.answer["logits"]),
        "loss": float(loss),
        "gradients": worst(gradient, expected),
        "stacks": len(jax.tree.leaves(gradient)),
        "moved": sum(bool(np.linalg.norm(each)) for each in jax.tree.leaves(expected)),
        "adapter_gradients": worst(first, theirs),
        "adapter_stacks": len(jax.tree.leaves(theirs)),
        "losses": losses,
    }


PARTS = {"parity": parity}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Case(Path(sys.argv[2])))))
