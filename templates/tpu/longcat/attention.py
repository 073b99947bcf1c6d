"""Attention whose queries and keys are wider than its values: plain for processors, JAX's splash kernel for TPUs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from model import How

LANES = 128  # the kernel's widths are multiples of it
BLOCK = 512
BLOCKS = (
    *("block_q", "block_kv", "block_kv_compute"),
    *("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute", "block_q_dq", "block_kv_dq"),
)


def attended(how: How, query: Any, key: Any, value: Any, segments: Any) -> Any:
    """Causal attention within segments (batch, length): (batch, length, heads, width) in, of values' width out."""
    scale = query.shape[-1] ** -0.5
    if how.attention == "splash":
        return _splash(how, query * jnp.asarray(scale, how.dtype), key, value, segments)
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32) * scale
    at = jnp.arange(query.shape[1])
    seen = (at[:, None] >= at) & (segments[:, :, None] == segments[:, None])
    shares = jax.nn.softmax(jnp.where(seen[:, None], scores, -1e30), -1).astype(how.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", shares, value)


def _splash(how: How, query: Any, key: Any, value: Any, segments: Any) -> Any:
    """Queries come scaled; widths are filled up with zeros, which change no product."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length, heads, width = query.shape[1], query.shape[2], value.shape[-1]
    made = kernel.make_splash_mha(
        masks.MultiHeadMask([masks.CausalMask((length, length))] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=kernel.BlockSizes(**dict.fromkeys(BLOCKS, min(BLOCK, length))),
        interpret=how.interpret,
    )

    def run(query: Any, key: Any, value: Any, segments: Any) -> Any:
        return jax.vmap(made)(query, key, value, kernel.SegmentIds(q=segments, kv=segments))

    query, key, value = (_filled(it).transpose(0, 2, 1, 3) for it in (query, key, value))
    if how.mesh is not None:
        cut = P(how.mesh.axis_names)
        run = jax.shard_map(run, mesh=how.mesh, in_specs=(cut,) * 4, out_specs=cut, check_vma=False)
    return run(query, key, value, segments).transpose(0, 2, 1, 3)[..., :width]


def _filled(heads: Any) -> Any:
    return jnp.pad(heads, [(0, 0)] * 3 + [(0, -heads.shape[-1] % LANES)])
