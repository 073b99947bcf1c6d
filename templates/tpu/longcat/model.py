"""LongCat-Flash's layers: a scan over stacked weights, recomputed in backward; packed rows are kept apart by segment.

Every device has rows of its own. Dense matrices are cut over all devices and gathered, as they are stored, one layer at
a time; experts stay where they are, and tokens go to them.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from failures import Failure
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from model import Batch, How
from quantise import matrix

from longcat import HALVES, LongCat
from longcat.attention import attended
from longcat.experts import Picks, mixture
from longcat.vocabulary import cross_entropies, embedded, scores

INNER_EPS = (
    1e-6  # of the two norms inside attention: the published class leaves them at this, whatever config.json says
)


def loss_sum(cat: LongCat, how: How, weights: Any, adapters: Any, batch: Batch, key: Any = None) -> tuple[Any, Picks]:
    """Cross entropies of all trained tokens, added up (float32), and the picks of experts."""
    hidden, picks = forward(cat, how, weights, adapters, batch, key)
    return cross_entropies(how, weights["head"], hidden, batch), picks


def logits(cat: LongCat, how: How, weights: Any, adapters: Any, batch: Batch) -> Any:
    """Logits (batch, length, vocabulary) in float32."""
    hidden, _ = forward(cat, how, weights, adapters, batch)
    return scores(how, weights["head"], hidden)


def check(cat: LongCat, picks: Picks) -> None:
    """Raise Failure when more picks of a step were dropped than the model may lose."""
    made, dropped = int(picks.made), int(picks.dropped)
    if dropped > cat.most_dropped * made:
        raise Failure(
            f"{dropped} of {made} picks of experts found no place on the devices that hold them ({dropped / made:.1%}; "
            f"at most {cat.most_dropped:.1%} may be lost): raise the capacity of {cat.capacity:g} times an even share, "
            "or train fewer tokens a device at once"
        )


def forward(cat: LongCat, how: How, weights: Any, adapters: Any, batch: Batch, key: Any = None) -> tuple[Any, Picks]:
    """Hidden states (batch, length, hidden) after the last norm, and the picks of all layers. `key`: of dropout."""
    hidden = _spread(how, embedded(how, weights["embedding"], batch.tokens))
    speeds = jnp.asarray(cat.theta ** -(np.arange(cat.turned // 2) * 2 / cat.turned), jnp.float32)
    angles = batch.positions[..., None, None].astype(jnp.float32) * speeds
    turn = jnp.cos(angles).astype(how.dtype), jnp.sin(angles).astype(how.dtype)
    pairs = jax.tree.map(lambda it: it.reshape(cat.layers, HALVES, *it.shape[1:]), adapters or {})
    keys = None if key is None or not how.dropout else jax.random.split(key, cat.layers)

    layer = _Layer(cat, how, batch, turn)

    def body(carry: Any, given: Any) -> Any:
        hidden, before = carry
        hidden, picks = layer(_spread(how, hidden), *given)
        return (hidden, jax.tree.map(jnp.add, before, picks)), None

    body = jax.checkpoint(body) if how.remat else body
    start = hidden, Picks(jnp.int32(0), jnp.int32(0))
    (hidden, picks), _ = jax.lax.scan(body, start, (weights["layers"], pairs, keys))
    return normed(hidden, weights["norm"], cat.eps), picks


class _Layer:
    """What all layers have in common: the model, its way, the rows that are in it, and how far they are turned."""

    def __init__(self, cat: LongCat, how: How, batch: Batch, turn: Any) -> None:
        self._cat, self._how, self._batch, self._turn = cat, how, batch, turn

    def __call__(self, hidden: Any, weights: Any, adapters: Any, key: Any) -> tuple[Any, Picks]:
        """One layer; the mixture sees what the first MLP sees, and is added after the second."""
        cat, how = self._cat, self._how
        beside = picks = None
        for half in range(HALVES):
            own = jax.tree.map(lambda it, half=half: it[half], weights["halves"])
            pairs = jax.tree.map(lambda it, half=half: it[half], adapters)
            linear = _Linear(how, own, pairs, None if key is None else jax.random.fold_in(key, half))

            rows = normed(hidden, own["attention_norm"], cat.eps)
            hidden = hidden + linear(self._latent(rows, own, linear), "o")
            rows = normed(hidden, own["mlp_norm"], cat.eps)
            if half == 0:
                beside, picks = mixture(cat, how, rows, weights, self._batch.segments > 0)
            hidden = hidden + linear(jax.nn.silu(linear(rows, "gate")) * linear(rows, "up"), "down")
        return hidden + beside, picks

    def _latent(self, rows: Any, own: Any, linear: _Linear) -> Any:
        """Multi-head latent attention before its last projection: (batch, length, heads x value)."""
        cat, how, turn = self._cat, self._how, self._turn
        shape = (*rows.shape[:2], cat.heads, -1)
        grow_query, grow_key = (
            jnp.asarray((cat.hidden / rank) ** 0.5, how.dtype) for rank in (cat.query_rank, cat.key_rank)
        )
        query = linear(normed(linear(rows, "q_a"), own["q_norm"], INNER_EPS), "q_b").reshape(shape) * grow_query
        squeezed, key_turned = jnp.split(linear(rows, "kv_a"), [cat.key_rank], -1)
        squeezed = normed(squeezed, own["kv_norm"], INNER_EPS) * grow_key
        key, value = jnp.split(linear(squeezed, "kv_b").reshape(shape), [cat.plain], -1)

        plain, turned = jnp.split(query, [cat.plain], -1)
        query = jnp.concatenate([plain, _turned(turned, *turn)], -1)
        key_turned = jnp.broadcast_to(_turned(key_turned[:, :, None], *turn), (*key.shape[:3], cat.turned))
        key = jnp.concatenate([key, key_turned], -1)
        return attended(how, query, key, value, self._batch.segments).reshape(*rows.shape[:2], -1)


class _Linear:
    """Multiplications with the matrices of one half of a layer, and with the adapters beside them."""

    def __init__(self, how: How, matrices: Any, adapters: Any, key: Any) -> None:
        self._how, self._matrices, self._adapters, self._key = how, matrices, adapters, key

    def __call__(self, rows: Any, name: str) -> Any:
        how = self._how
        out = rows @ matrix(_whole(how, self._matrices[name]), how.dtype)
        if name not in self._adapters:
            return out
        pair = _whole(how, self._adapters[name])
        if self._key is not None:
            kept = jax.random.bernoulli(
                jax.random.fold_in(self._key, sorted(self._adapters).index(name)), 1 - how.dropout, rows.shape
            )
            rows = jnp.where(kept, rows / (1 - how.dropout), 0).astype(rows.dtype)
        return out + (rows @ pair["a"].astype(how.dtype)) @ pair["b"].astype(how.dtype) * how.scale


def normed(rows: Any, weight: Any, eps: float) -> Any:
    """Root-mean-square norm, computed in float32."""
    wide = rows.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + eps)
    return weight.astype(rows.dtype) * wide.astype(rows.dtype)


def _turned(rows: Any, cosine: Any, sine: Any) -> Any:
    """Neighbours are turned as pairs; all firsts, then all seconds come out, in query and key alike."""
    first, second = rows[..., ::2], rows[..., 1::2]
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)


def _whole(how: How, weight: Any) -> Any:
    """A matrix of which each device holds a part, gathered in the form in which it is stored."""
    if how.mesh is None:
        return weight
    return jax.tree.map(lambda it: jax.lax.with_sharding_constraint(it, NamedSharding(how.mesh, P())), weight)


def _spread(how: How, hidden: Any) -> Any:
    """Every device has its own rows."""
    if how.mesh is None:
        return hidden
    return jax.lax.with_sharding_constraint(hidden, NamedSharding(how.mesh, P(how.mesh.axis_names)))
