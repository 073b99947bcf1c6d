"""The decoder: layers in a scan over stacked weights, recomputed in the backward pass; packed rows apart by segment."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from attention import Heads, attend, windows
from decoder import Decoder
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from quantise import matrix
from tokens import IGNORED

TILE_BYTES = 1 << 27  # of float32 logits that a device may hold at a time


class How(NamedTuple):
    """What is not the model's but the run's."""

    dtype: Any = jnp.bfloat16
    scale: float = 2.0  # of the adapters: alpha / rank, or alpha / sqrt(rank)
    dropout: float = 0.0  # of what goes into an adapter
    attention: str = "dense"  # or "splash"
    mesh: Mesh | None = None
    batch_axes: tuple[str, ...] = ("fsdp",)
    head_axis: str | None = None
    interpret: bool = False  # the splash kernel step by step, where there is no TPU
    remat: bool = True  # the layers are computed again in the backward pass, not kept


class Batch(NamedTuple):
    """Packed rows, each int32 (rows, length). Segment 0 is padding."""

    tokens: Any
    labels: Any  # already shifted: what each position is to predict, or IGNORED
    positions: Any
    segments: Any


def loss_sum(decoder: Decoder, how: How, weights: Any, adapters: Any, batch: Batch, key: Any = None) -> Any:
    """The sum of the cross entropies over the trained tokens, in float32.

    `adapters` may be None; `key` draws their dropout, which is left out without one. The logits of all positions are
    never there at once: they are made, used and made again in the backward pass in tiles along the rows.
    """
    hidden = forward(decoder, how, weights, adapters, batch, key)
    head = weights["embedding" if decoder.tied else "head"]
    rows, length = batch.labels.shape
    tiles = _tiles(decoder, how, rows, length)
    hidden = hidden.reshape(rows, tiles, -1, decoder.hidden).swapaxes(0, 1)
    labels = batch.labels.reshape(rows, tiles, -1).swapaxes(0, 1)

    @jax.checkpoint
    def tile(hidden: Any, labels: Any) -> Any:
        scores = _scores(decoder, how, hidden, head)
        told = jnp.take_along_axis(scores, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        return jnp.where(labels == IGNORED, 0.0, jax.nn.logsumexp(scores, -1) - told).sum()

    total, _ = jax.lax.scan(lambda total, it: (total + tile(*it), None), jnp.float32(0), (hidden, labels))
    return total


def logits(decoder: Decoder, how: How, weights: Any, adapters: Any, batch: Batch) -> Any:
    """Float32 (rows, length, vocabulary), all at once: for few positions."""
    hidden = forward(decoder, how, weights, adapters, batch)
    return _scores(decoder, how, hidden, weights["embedding" if decoder.tied else "head"])


def forward(decoder: Decoder, how: How, weights: Any, adapters: Any, batch: Batch, key: Any = None) -> Any:
    """Hidden states (rows, length, hidden) after the last norm."""
    hidden = jnp.take(weights["embedding"], batch.tokens, axis=0).astype(how.dtype)
    hidden = _cut(how, hidden * jnp.asarray(decoder.embed_scale, how.dtype))
    turns, habits = _turns(decoder, how, batch.positions), _habits(decoder)

    def body(hidden: Any, layer: Any) -> tuple[Any, None]:
        weights, adapters, habit = layer
        turn = jax.tree.map(lambda table: table[habit["turn"]], turns)
        draw = None if key is None or not how.dropout else jax.random.fold_in(key, habit["number"])
        run = _Layer(decoder, how, weights, adapters or {}, draw)
        return _cut(how, run(_cut(how, hidden), batch, turn, habit["window"])), None

    if how.remat:
        body = jax.checkpoint(body)
    hidden, _ = jax.lax.scan(body, hidden, (weights["layers"], adapters, habits))
    return _normed(decoder, hidden, weights["norm"])


class _Layer:
    """One layer: its weights, its adapters, and the key of their dropout."""

    def __init__(self, decoder: Decoder, how: How, weights: Any, adapters: Any, key: Any) -> None:
        self.decoder, self.how, self.weights, self.adapters, self.key = decoder, how, weights, adapters, key

    def __call__(self, hidden: Any, batch: Batch, turn: Any, window: Any) -> Any:
        scale = jnp.asarray(self.decoder.residual_scale, hidden.dtype)
        rows = self.norm(hidden, "attention_norm")
        mixed = self.norm(self.attention(rows, batch, turn, window), "after_attention_norm") * scale
        if self.decoder.norms == "shared":
            return hidden + mixed + self.feed(rows) * scale
        hidden = hidden + mixed
        fed = self.norm(self.feed(self.norm(hidden, "mlp_norm")), "after_mlp_norm")
        return hidden + fed * scale

    def attention(self, rows: Any, batch: Batch, turn: Any, window: Any) -> Any:
        """Projections, rotation, attention and the projection back."""
        decoder = self.decoder
        if "qkv" in decoder.fused:
            sizes = np.cumsum([decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim])
            flat = dict(zip("qkv", jnp.split(self.linear(rows, "qkv"), sizes, -1), strict=True))
        else:
            flat = {name: self.linear(rows, name) for name in "qkv"}
        query = self.heads(flat["q"], "q_norm", decoder.heads, turn)
        key = self.heads(flat["k"], "k_norm", decoder.kv_heads, turn)
        value = flat["v"].reshape(*rows.shape[:2], decoder.kv_heads, decoder.head_dim)
        mixed = self.attend(query, key, value, batch, window)
        return self.linear(mixed.reshape(*rows.shape[:2], -1), "o")

    def attend(self, query: Any, key: Any, value: Any, batch: Batch, window: Any) -> Any:
        """Attention; what decodes token by token has its own."""
        return attend(self.decoder, self.how, Heads(query, key, value), batch, window)

    def heads(self, flat: Any, norm: str, count: int, turn: Any) -> Any:
        """Queries or keys as heads, normalised where and when the family does it, and turned."""
        where = self.decoder.qk_norm
        flat = self.norm(flat, norm) if where == "whole" else flat
        split = flat.reshape(*flat.shape[:2], count, self.decoder.head_dim)
        split = _turned(self.decoder, self.norm(split, norm) if where == "head" else split, turn)
        return self.norm(split, norm) if where == "turned" else split

    def feed(self, rows: Any) -> Any:
        """The gated feed-forward part."""
        if "gate_up" in self.decoder.fused:
            gate, up = jnp.split(self.linear(rows, "gate_up"), 2, -1)
        else:
            gate, up = self.linear(rows, "gate"), self.linear(rows, "up")
        curve = jax.nn.gelu(gate, approximate=True) if self.decoder.activation == "gelu" else jax.nn.silu(gate)
        return self.linear(curve * up, "down")

    def linear(self, rows: Any, name: str) -> Any:
        """A product with a matrix, its adapter and its bias."""
        dtype = self.how.dtype
        out = rows @ matrix(self.weights[name], dtype)
        if name in self.adapters:
            pair = self.adapters[name]
            narrow = self.dropped(rows, name) @ pair["a"].astype(dtype)
            out = out + narrow @ pair["b"].astype(dtype) * jnp.asarray(self.how.scale, dtype)
        bias = self.weights.get(f"{name}_bias")
        return out if bias is None else out + bias.astype(dtype)

    def dropped(self, rows: Any, name: str) -> Any:
        """What an adapter is given: a part of it 0, the rest larger by as much, each adapter by draws of its own."""
        if self.key is None:
            return rows
        key = jax.random.fold_in(self.key, list(self.decoder.matrices).index(name))
        stays = jax.random.bernoulli(key, 1 - self.how.dropout, rows.shape)
        return jnp.where(stays, rows / jnp.asarray(1 - self.how.dropout, rows.dtype), 0)

    def norm(self, rows: Any, name: str) -> Any:
        """The norm of that name, where the family has one."""
        return _normed(self.decoder, rows, self.weights[name]) if name in self.weights else rows


def _normed(decoder: Decoder, rows: Any, weight: Any) -> Any:
    wide = rows.astype(jnp.float32)
    if decoder.norm_kind == "centred":
        wide = wide - wide.mean(-1, keepdims=True)
    wide = wide * jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + decoder.eps)
    if decoder.norm_kind == "cast":
        return weight.astype(rows.dtype) * wide.astype(rows.dtype)
    weight = weight.astype(jnp.float32) + (decoder.norm_kind == "plus_one")
    return (weight * wide).astype(rows.dtype)


def _scores(decoder: Decoder, how: How, hidden: Any, head: Any) -> Any:
    """Float32 scores of the vocabulary for hidden states (..., hidden); the head is (vocabulary, hidden)."""
    scores = jnp.einsum("...h,vh->...v", hidden, head.astype(how.dtype)).astype(jnp.float32) * decoder.logit_scale
    if decoder.final_softcap:
        scores = jnp.tanh(scores / decoder.final_softcap) * decoder.final_softcap
    return scores


def _tiles(decoder: Decoder, how: How, rows: int, length: int) -> int:
    """In how many parts the rows are cut for the loss: the fewest whose logits are small enough."""
    devices = 1 if how.mesh is None else how.mesh.size
    whole = rows * length * decoder.vocab * 4 / devices
    return next((parts for parts in range(1, length) if length % parts == 0 and whole / parts <= TILE_BYTES), length)


def _habits(decoder: Decoder) -> dict[str, Any]:
    """What differs from layer to layer, as numbers of choices: int32, (layers,)."""
    turns, sizes = list(dict.fromkeys(decoder.rotations)), windows(decoder)
    return {
        "number": jnp.arange(decoder.layers, dtype=jnp.int32),
        "turn": jnp.array([turns.index(turn) for turn in decoder.rotations], jnp.int32),
        "window": jnp.array([sizes.index(size) for size in decoder.windows], jnp.int32),
    }


def _turns(decoder: Decoder, how: How, positions: Any) -> tuple[Any, Any]:
    """Cosines and sines (choices, rows, length, 1, half of what turns); 1 and 0 where a layer does not turn."""
    choices = list(dict.fromkeys(decoder.rotations))
    size = max((choice.size for choice in choices if choice), default=decoder.head_dim)
    cosines, sines = [], []
    for choice in choices:
        speeds = choice.speeds() if choice else np.zeros(size // 2)
        angles = positions[..., None, None].astype(jnp.float32) * jnp.asarray(speeds, jnp.float32)
        strength = choice.strength if choice else 1.0
        cosines.append(jnp.cos(angles) * strength)
        sines.append(jnp.sin(angles) * strength)
    return jnp.stack(cosines).astype(how.dtype), jnp.stack(sines).astype(how.dtype)


def _turned(decoder: Decoder, heads: Any, turn: tuple[Any, Any]) -> Any:
    """The heads (..., head_dim), their first dimensions turned in pairs."""
    cosine, sine = turn
    size = 2 * cosine.shape[-1]
    rest = heads[..., size:]
    if decoder.interleaved:
        left, right = heads[..., 0:size:2], heads[..., 1:size:2]
    else:
        left, right = heads[..., : size // 2], heads[..., size // 2 : size]
    pair = left * cosine - right * sine, right * cosine + left * sine
    if decoder.interleaved:
        turned = jnp.stack(pair, -1).reshape(*heads.shape[:-1], size)
        return jnp.concatenate([turned, rest], -1)
    return jnp.concatenate([*pair, rest], -1)


def _cut(how: How, hidden: Any) -> Any:
    """Keep the rows shared out over the devices."""
    if how.mesh is None:
        return hidden
    return jax.lax.with_sharding_constraint(hidden, NamedSharding(how.mesh, P(how.batch_axes, None, None)))
