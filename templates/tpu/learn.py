"""Optimizers and learning rates as the torch trainer has them, and one optimizer step as one compiled program.

Rules change weights by steps that are not yet multiplied by the learning rate, so that the rate is an argument of the
compiled step. What learns is a tree of stacks: the first axis of every array is the layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from job import Job
from tokens import IGNORED

CLIP = 1.0  # the highest norm of all gradients together
SEED_OF_DROPOUT = 1  # folded into the job's seed, so that dropout and first weights are not drawn alike
BETAS = {"adamw": (0.9, 0.999), "lion": (0.9, 0.999)}  # those that transformers gives them

# (trained, frozen, batch, key or None) -> the float32 sum over the trained tokens, and counts to be added up likewise
LossSum = Callable[..., tuple[Any, Any]]


class State(NamedTuple):
    """What learns, and what the optimizer remembers of it."""

    trained: Any
    memory: Any


def rate(job: Job, steps: int) -> Callable[[int], float]:
    """The learning rate of step `at` (the first is 0) of a run of so many steps."""
    warmup = job.warmup_steps(steps)

    def share(at: int) -> float:
        if at < warmup:
            return at / max(1, warmup)
        if job.schedule == "constant":
            return 1.0
        done = (at - warmup) / max(1, steps - warmup)
        return max(0.0, 0.5 * (1 + math.cos(math.pi * done)) if job.schedule == "cosine" else 1 - done)

    return lambda at: job.learning_rate * share(at)


def rule(job: Job) -> optax.GradientTransformation:
    """The job's optimizer, without its rate."""
    decayed = optax.add_decayed_weights(job.weight_decay)
    if job.optimizer == "sgd":  # PyTorch adds the decay to the gradient; without momentum that is the same
        return decayed
    made = {
        "adamw": lambda: optax.scale_by_adam(*BETAS["adamw"], eps=1e-8),
        "adafactor": _adafactor,
        "lion": lambda: optax.scale_by_lion(*BETAS["lion"]),
    }
    return optax.chain(made[job.optimizer](), decayed)


def _adafactor() -> optax.GradientTransformation:
    """Of every layer by itself: rows and columns are those of its own matrices, and so is the size of a step."""
    one = optax.chain(
        optax.scale_by_factored_rms(decay_rate=0.8, min_dim_size_to_factor=1, epsilon=1e-30),
        optax.clip_by_block_rms(1.0),
    )
    return optax.GradientTransformation(jax.vmap(one.init), jax.vmap(one.update))


def stepper(loss_sum: LossSum, change: optax.GradientTransformation, begun: State, draws: bool = False) -> Any:
    """One compiled step: (state, frozen, batches, rate, number) -> (state, mean loss over its trained tokens, counts).

    `begun` is a state as the first one is. `batches` are micro-batches stacked, whose gradients are summed before the
    state changes; the given state is gone.
    `draws`: the loss takes random numbers; those of a step depend on its `number` (seed and step) alone.
    """

    def step(state: State, frozen: Any, batches: Any, rate: Any, number: Any) -> tuple[State, Any, Any]:
        trained_tokens = jnp.maximum((batches.labels != IGNORED).sum(), 1).astype(jnp.float32)
        keys = jax.random.split(number, batches.labels.shape[0]) if draws else None

        def add(total: Any, one: Any) -> tuple[Any, None]:
            batch, key = one
            found = jax.value_and_grad(loss_sum, has_aux=True)(state.trained, frozen, batch, key)
            return jax.tree.map(jnp.add, total, found), None

        first = jax.tree.map(lambda it: it[0], (batches, keys))
        sums = jax.eval_shape(loss_sum, state.trained, frozen, *first)
        zeros = jax.tree.map(lambda it: jnp.zeros(it.shape, it.dtype), sums)
        zeros = zeros, jax.tree.map(lambda it: jnp.zeros(it.shape, jnp.float32), state.trained)
        ((loss, counts), gradient), _ = jax.lax.scan(add, zeros, (batches, keys))
        gradient = _clipped(jax.tree.map(lambda it: it / trained_tokens, gradient))
        update, memory = change.update(gradient, state.memory, state.trained)
        trained = jax.tree.map(lambda old, by: (old - rate * by).astype(old.dtype), state.trained, update)
        return State(trained, memory), loss / trained_tokens, counts

    places = jax.tree.map(lambda it: it.sharding, begun)  # where they were: else a second step is compiled anew
    return jax.jit(step, donate_argnums=0, out_shardings=(places, everywhere(begun), everywhere(begun)))


def everywhere(begun: State) -> NamedSharding | None:
    """Where a figure lies so that every process can read it; None where no devices share the work."""
    meshes = [it.sharding.mesh for it in jax.tree.leaves(begun) if isinstance(it.sharding, NamedSharding)]
    return NamedSharding(meshes[0], PartitionSpec()) if meshes else None


def number(seed: int, step: int) -> Any:
    """The random key of a step: of nothing but the job's seed and the step, so that a resumed run draws the same."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), SEED_OF_DROPOUT), step)


def _clipped(gradient: Any) -> Any:
    """As PyTorch clips: by the norm of all, with its small addend."""
    norm = optax.global_norm(gradient)
    return jax.tree.map(lambda it: it * jnp.minimum(1.0, CLIP / (norm + 1e-6)), gradient)


def evaluator(loss_sum: LossSum, begun: State) -> Any:
    """(trained, frozen, batch) -> (sum of the losses, trained tokens) of one micro-batch, compiled."""
    return jax.jit(
        lambda trained, frozen, batch: (loss_sum(trained, frozen, batch, None)[0], (batch.labels != IGNORED).sum()),
        out_shardings=everywhere(begun),
    )
