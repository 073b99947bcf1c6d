"""Run in the environment with JAX: what the TPU trainer's LongCat computes, as one JSON document.

python longcat_probe.py FOLDER PART...   FOLDER is what longcat_reference.py has made; the modules are on PYTHONPATH
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "true"  # nearly all of the time here is compiling

import adapters as peft
import architectures
import decoder
import jax
import jax.numpy as jnp
import learn
import mesh as meshes
import numpy as np
import optax
import source
from failures import Failure
from job import Checkpoint, Data, Job
from longcat import experts as longcat_experts
from longcat import model as longcat_model
from longcat.vocabulary import cross_entropies, scores
from model import IGNORED, Batch, How
from quantise import matrix
from safetensors.numpy import load_file, save_file

RANK, ALPHA, RATE = 4, 8, 1e-2
PLAIN = How(dtype=jnp.float32, scale=ALPHA / RANK, remat=False)  # over devices, and in steps, layers are recomputed


JOB = Job(model="m", data=Data("/d"), checkpoint=Checkpoint("/c"), output="/o", sequence_length=32)


def relative(ours: Any, theirs: Any) -> float:
    """The largest relative (Frobenius) difference of two trees' arrays."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    sizes = [(np.linalg.norm(np.asarray(a) - np.asarray(b)), np.linalg.norm(np.asarray(b))) for a, b in pairs]
    return float(max(gap / size if size else gap for gap, size in sizes))


class Case:
    """The tiny model, its tokens, and what one device computes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cat = decoder.read(folder / "model")
        self.parts = architectures.of(self.cat)
        self.answer = load_file(folder / "answer.safetensors")
        ids = self.answer["ids"].astype(np.int32)
        labels = np.full_like(ids, IGNORED)
        labels[:, :-1] = ids[:, 1:]
        at = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
        self.batch = Batch(*map(jnp.asarray, (ids, labels, at, np.ones_like(ids))))
        self.trained = int((labels != IGNORED).sum())
        self.adapters = jax.tree.map(jnp.asarray, peft.read(folder / "adapter", self.cat))
        self.mesh = meshes.make(self.parts.plan(8, self.cat, ids.shape[0]))

    @cached_property
    def weights(self) -> Any:
        """Of the model, on one device."""
        return self.load("model")

    def load(self, name: str, mesh: Any = None, quantised: str = "") -> Any:
        """The weights in one of the folders; gradients look like them."""
        return self.parts.load(self.folder / name, self.cat, mesh, quantised, jnp.float32)

    def mean(self, how: How, cat: Any, weights: Any, adapters: Any, batch: Batch) -> Any:
        """The mean loss, and the logits beside it."""
        hidden, picks = longcat_model.forward(cat, how, weights, adapters, batch)
        logits = scores(how, weights["head"], hidden)
        return cross_entropies(how, weights["head"], hidden, batch) / self.trained, (logits, picks)

    @cached_property
    def all_gradients(self) -> Any:
        """(weights, adapters, batch) -> ((loss, (logits, picks)), gradients of both), compiled for one device."""
        return jax.jit(jax.value_and_grad(partial(self.mean, PLAIN, self.cat), argnums=(0, 1), has_aux=True))

    @cached_property
    def once(self) -> Any:
        """What that gives for the model and the reference's adapter."""
        return self.all_gradients(self.weights, self.adapters, self.batch)


def parity(case: Case) -> dict[str, Any]:
    """Against transformers and PEFT: logits, every gradient, five steps; the adapter of these steps is written."""
    (_, (logits, _)), (ours, _) = case.once
    theirs = peft.read(case.folder / "adapter_gradients.safetensors", case.cat)
    expected = case.load("gradients")
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(RATE, weight_decay=0.0))
    adapters, memory, losses = case.adapters, rule.init(case.adapters), []
    update = jax.jit(rule.update)
    for _ in range(5):
        (value, _), (_, found) = case.all_gradients(case.weights, adapters, case.batch)
        change, memory = update(found, memory, adapters)
        adapters = optax.apply_updates(adapters, change)
        losses.append(float(value))
    (_, (after, _)), _ = case.all_gradients(case.weights, adapters, case.batch)
    (case.folder / "ours").mkdir(exist_ok=True)
    peft.write(case.folder / "ours", case.cat, adapters, str(case.folder / "model"), ALPHA)
    save_file({"logits": np.asarray(after)}, case.folder / "ours.safetensors")
    named = {jax.tree_util.keystr(path): each for path, each in jax.tree_util.tree_leaves_with_path(expected)}
    return {
        "logits": relative(logits, case.answer["logits"]),
        "gradients": relative(ours, expected),
        "without_gradient": [name for name, each in named.items() if not np.linalg.norm(each)],
        "adapter_gradients": relative(case.once[1][1], theirs),
        "adapter_stacks": len(jax.tree.leaves(theirs)),
        "losses": losses,
        "read_back": relative(peft.read(case.folder / "ours", case.cat), adapters),
    }


def packed(case: Case) -> dict[str, Any]:
    """Two documents in a row against the second by itself; what is behind it is padding, and picks no experts."""
    half = case.batch.tokens.shape[1] // 2
    at = jnp.arange(2 * half)[None]
    both = case.batch._replace(
        positions=at % half + 0 * case.batch.tokens, segments=at // half + 1 + 0 * case.batch.tokens
    )
    apart = Batch(
        jnp.roll(case.batch.tokens, half, 1),
        case.batch.labels,
        case.batch.positions,
        jnp.where(at < half, 1, 0) + 0 * case.batch.tokens,
    )
    (_, (together, picks)), _ = case.all_gradients(case.weights, case.adapters, both)
    (_, (alone, fewer)), _ = case.all_gradients(case.weights, case.adapters, apart)
    first = case.once[0][1][0]
    return {
        "second": relative(together[:, half:], alone[:, :half]),
        "first": relative(together[:, :half], first[:, :half]),
        "seen_otherwise": relative(first[:, half:], together[:, half:]),
        "picks": [int(picks.made), int(fewer.made)],
    }


def devices(case: Case) -> dict[str, Any]:
    """Eight devices against one: loss, gradients of adapters and routers, what each of them holds."""
    wide = replace(case.cat, capacity=8.0)
    how = PLAIN._replace(mesh=case.mesh, remat=True)
    weights = case.load("model", case.mesh)
    batch = jax.device_put(case.batch, jax.NamedSharding(case.mesh, jax.P(case.mesh.axis_names)))

    def loss(learned: Any, weights: Any, batch: Batch) -> Any:
        weights = jax.tree.map(lambda it: it, weights)
        weights["layers"] |= learned["layers"]
        total, picks = case.parts.loss_sum(wide, how, weights, learned["adapters"], batch, None)
        return total / case.trained, picks

    routers = {name: weights["layers"][name] for name in ("router", "router_bias")}
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, picks), gradients = run({"adapters": case.adapters, "layers": routers}, weights, batch)
    (alone, (_, picks_alone)), (whole, adapters) = case.once
    expected = {"adapters": adapters, "layers": {name: whole["layers"][name] for name in routers}}
    held = {
        jax.tree_util.keystr(path): each.addressable_shards[0].data.nbytes / each.nbytes
        for path, each in jax.tree_util.tree_leaves_with_path(weights)
    }
    return {
        "loss": abs(float(value) - float(alone)) / float(alone),
        "gradients": relative(gradients, expected),
        "picks": [int(picks.made), int(picks_alone.made)],
        "dropped": [int(picks.dropped), int(picks_alone.dropped)],
        "held": held,
    }


def dropping(case: Case) -> dict[str, Any]:
    """The mixture of the first layer with too few places, against numpy with the same rule; rows 6 and 7 are padding."""
    tight = replace(case.cat, capacity=0.1)
    rows = np.random.default_rng(0).normal(size=(8, 1024, tight.hidden)).astype(np.float32)
    real = np.ones(rows.shape[:2], bool)
    real[6:] = False
    layer = jax.tree.map(lambda it: np.asarray(it[0]), case.weights["layers"])
    how = PLAIN._replace(mesh=case.mesh)
    out, picks = jax.jit(partial(longcat_experts.mixture, tight, how))(rows, layer, real)
    expected, made, dropped = by_numpy(tight, rows, layer, real, 8)
    try:
        longcat_model.check(tight, picks)
        failure = ""
    except Failure as error:
        failure = str(error)
    longcat_model.check(replace(tight, most_dropped=dropped / made), picks)  # no more than that share: nothing raised
    return {
        "out": relative(np.asarray(out)[real], expected[real]),
        "picks": [int(picks.made), made],
        "dropped": [int(picks.dropped), dropped],
        "failure": failure,
        "capacity": [
            source.described(job, case.folder / "model").capacity for job in (JOB, replace(JOB, expert_capacity=3.0))
        ],
    }


def by_numpy(cat: Any, rows: np.ndarray, layer: Any, real: np.ndarray, chips: int) -> tuple[np.ndarray, int, int]:
    """The mixture one pick after another: its result, picks of experts, picks without a place at the expert's chip."""
    out, made, dropped = np.zeros_like(rows), 0, 0
    places, own = cat.places(rows.shape[0] // chips * rows.shape[1], chips), cat.experts // chips
    logits = rows.astype(np.float64) @ layer["router"]
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for begin in range(0, len(rows), len(rows) // chips):
        taken = [0] * chips
        for row in range(begin, begin + len(rows) // chips):
            for at in np.flatnonzero(real[row]):
                for pick in np.argsort(-(shares[row, at] + layer["router_bias"]))[: cat.chosen]:
                    weight, given = shares[row, at, pick] * cat.routed_scale, rows[row, at]
                    if pick >= cat.experts:
                        out[row, at] += weight * given
                        continue
                    made, chip = made + 1, pick // own
                    taken[chip] += 1
                    if taken[chip] > places:
                        dropped += 1
                        continue
                    gate, up, down = (layer["experts"][name][pick] for name in ("gate", "up", "down"))
                    wide = given @ gate
                    out[row, at] += weight * ((wide / (1 + np.exp(-wide)) * (given @ up)) @ down)
    return out, made, dropped


def is_codes(weight: Any) -> bool:
    """Whether it is a matrix in codes and scales."""
    return isinstance(weight, dict) and "codes" in weight


def put_back(weights: Any) -> Any:
    """The same weights in float32."""
    return jax.tree.map(lambda it: matrix(it, jnp.float32), weights, is_leaf=is_codes)


def four_bits(case: Case) -> dict[str, Any]:
    """The first mixture with int4 experts over 8 devices, against the same weights put back, and not quantised."""
    weights = case.load("model", case.mesh, "int4")
    layer = jax.tree.map(lambda it: it[0], weights["layers"])
    rows = jax.random.normal(jax.random.key(0), (8, 32, case.cat.hidden))
    run = jax.jit(lambda layer: longcat_experts.mixture(case.cat, how, rows, layer, jnp.ones((8, 32), bool))[0])
    how = PLAIN._replace(mesh=case.mesh)
    plain = jax.tree.map(lambda it: np.asarray(it[0]), case.weights["layers"])
    expected = run(put_back(layer))
    return {"out": relative(run(layer), expected), "from_unquantised": relative(expected, run(plain))}


def quantised(case: Case) -> dict[str, Any]:
    """Logits with quantised weights against those with the same weights put back into float32."""
    found = {}
    run = jax.jit(lambda weights: case.parts.logits(case.cat, PLAIN, weights, case.adapters, case.batch))
    for kind in ("int4", "int8", "nf4"):
        weights = case.load("model", None, kind)
        expected = run(put_back(weights))
        spread = case.load("model", case.mesh, kind)
        wide = [jax.tree.map(lambda it: np.asarray(it).astype(np.float32), each) for each in (spread, weights)]
        found[kind] = {
            "logits": relative(run(weights), expected),
            "from_unquantised": relative(put_back(weights), case.weights),
            "stacks": sum(map(is_codes, jax.tree.leaves(weights, is_leaf=is_codes))),
            "spread": relative(*wide),
        }
    return found


def step(case: Case) -> dict[str, Any]:
    """The trainer's own step over 8 devices, two micro-batches, dropout on: twice the same, and otherwise by another key."""
    how = PLAIN._replace(mesh=case.mesh, dropout=0.2, remat=True)
    weights = case.load("model", case.mesh)
    change = learn.rule(JOB)

    def loss_sum(trained: Any, frozen: Any, batch: Batch, key: Any) -> Any:
        return case.parts.loss_sum(case.cat, how, frozen, trained, batch, key)

    def begun() -> Any:
        whole = jax.NamedSharding(case.mesh, jax.P())
        adapters = jax.tree.map(lambda it: jax.device_put(np.asarray(it), whole), case.adapters)
        return jax.device_put(learn.State(adapters, change.init(adapters)), whole)

    cut = jax.NamedSharding(case.mesh, jax.P(None, case.mesh.axis_names))
    batches = Batch(*(jax.device_put(np.stack([each, each]), cut) for each in case.batch))
    run = learn.stepper(loss_sum, change, begun(), draws=True)
    losses, made = [], []
    for at in (0, 0, 1):
        _, loss, picks = run(begun(), weights, batches, np.float32(1e-3), learn.number(42, at))
        losses.append(float(loss))
        made.append(int(picks.made))
    return {"losses": losses, "picks": made}


PARTS: dict[str, Any] = {
    "parity": parity,
    "packed": packed,
    "devices": devices,
    "dropping": dropping,
    "four_bits": four_bits,
    "quantised": quantised,
    "step": step,
}

if __name__ == "__main__":
    import time

    case, found = Case(Path(sys.argv[1])), {}
    for part in sys.argv[2:]:
        began = time.process_time()
        found[part] = PARTS[part](case)
        print(part, round(time.process_time() - began, 1), "CPU seconds", file=sys.stderr)
    print(json.dumps(found))
