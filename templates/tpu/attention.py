"""Causal attention within segments: the scores of all positions at once, or JAX's splash kernel, which skips tiles.

A splash mask is made before anything runs, so each window that layers have is a kernel of its own, and a layer in the
scan chooses its branch by number.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from decoder import Decoder
from jax.sharding import PartitionSpec as P

if TYPE_CHECKING:
    from model import Batch, How

LANES = 128  # what the kernel's blocks, and here also heads, are multiples of
BLOCKS = (512, 384, 256, 128)  # positions that the kernel handles at once, best first
HIDDEN = -1e30  # the score of what is not seen


class Heads(NamedTuple):
    """What attends, what is attended to, and what it says: (rows, length, heads, head_dim), fewer in the last two."""

    query: Any
    key: Any
    value: Any


def attend(decoder: Decoder, how: How, heads: Heads, batch: Batch, window: Any) -> Any:
    """Causal attention within segments, in the shape of the queries.

    `window`: the place of the layer's window in `windows(decoder)`.
    """
    if how.attention == "splash":
        scale = decoder.attention_scale or decoder.head_dim**-0.5
        heads = heads._replace(query=heads.query * jnp.asarray(scale, heads.query.dtype))
        branches = [partial(_splash, decoder, how, size) for size in windows(decoder)]
        return jax.lax.switch(window, branches, heads, batch.segments)
    return _dense(decoder, heads, batch.segments, jnp.asarray(windows(decoder))[window])


def windows(decoder: Decoder) -> list[int]:
    """The different windows of the model's layers."""
    return list(dict.fromkeys(decoder.windows))


def _dense(decoder: Decoder, heads: Heads, segments: Any, window: Any) -> Any:
    query, key, value = heads
    rows, length = query.shape[:2]
    scale = decoder.attention_scale or decoder.head_dim**-0.5
    grouped = query.reshape(rows, length, key.shape[2], -1, decoder.head_dim)
    scores = jnp.einsum("bqhgd,bkhd->bhgqk", grouped, key).astype(jnp.float32) * scale
    if decoder.attention_softcap:
        scores = jnp.tanh(scores / decoder.attention_softcap) * decoder.attention_softcap
    at = jnp.arange(length)
    gap = at[:, None] - at[None]
    seen = (gap >= 0) & (gap < window) & (segments[:, :, None] == segments[:, None])
    shares = jax.nn.softmax(jnp.where(seen[:, None, None], scores, HIDDEN), -1).astype(query.dtype)
    return jnp.einsum("bhgqk,bkhd->bqhgd", shares, value).reshape(query.shape)


def _splash(decoder: Decoder, how: How, window: int, heads: Heads, segments: Any) -> Any:
    """Rows and heads are filled up to what the kernel takes; what fills a row is a segment that nobody else sees."""
    length = segments.shape[1]
    more, wider = -length % LANES, -decoder.head_dim % LANES
    query, key, value = (jnp.pad(it, ((0, 0), (0, more), (0, 0), (0, wider))).transpose(0, 2, 1, 3) for it in heads)
    segments = jnp.pad(segments, ((0, 0), (0, more)))
    shards = how.mesh.shape[how.head_axis] if how.mesh is not None and how.head_axis else 1
    if key.shape[1] % shards:  # too few to share out: every chip has those of its queries
        key, value = (jnp.repeat(it, query.shape[1] // it.shape[1], 1) for it in (key, value))
    made = _kernel(length + more, window, query.shape[1] // shards, decoder.attention_softcap, how.interpret)

    def run(query: Any, key: Any, value: Any, segments: Any) -> Any:
        from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel

        return jax.vmap(made)(query, key, value, kernel.SegmentIds(q=segments, kv=segments))

    if how.mesh is not None:  # a kernel is nothing that the compiler could cut by itself
        cut = P(how.batch_axes, how.head_axis)
        places = {"in_specs": (cut, cut, cut, P(how.batch_axes)), "out_specs": cut}
        run = jax.shard_map(run, mesh=how.mesh, **places, check_vma=False)
    mixed = run(query, key, value, segments).transpose(0, 2, 1, 3)
    return mixed[:, :length, :, : decoder.head_dim]


def _kernel(length: int, window: int, heads: int, softcap: float, interpret: bool) -> Any:
    """JAX's kernel for rows of `length` positions, a multiple of 128."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    block = next(size for size in BLOCKS if length % size == 0)
    names = ("block_q", "block_kv", "block_kv_compute", "block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")
    sizes = kernel.BlockSizes(**dict.fromkeys((*names, "block_q_dq", "block_kv_dq"), block))
    square = (length, length)
    one = masks.CausalMask(square) if window >= length else masks.LocalMask(square, (window - 1, 0), 0)
    return kernel.make_splash_mha(
        masks.MultiHeadMask([one] * heads),
        block_sizes=sizes,
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap or None,
        interpret=interpret,
    )
