"""LongCat's embedding and loss, whose matrices are cut over all devices and never put together on one.

Tokens and hidden states travel instead: they are a fraction of the 1.5 GiB that each of the two matrices has.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from model import IGNORED, Batch, How

TILE = 2048  # positions, of all devices together, whose logits exist at once


def embedded(how: How, table: Any, tokens: Any) -> Any:
    """Hidden states (batch, length, hidden) of tokens; the table (vocabulary, hidden) is cut along hidden."""
    if how.mesh is None:
        return table[tokens].astype(how.dtype)
    axes = how.mesh.axis_names

    def look_up(table: Any, tokens: Any) -> Any:
        everyones = table[jax.lax.all_gather(tokens, axes, tiled=True)].astype(how.dtype)
        return jax.lax.all_to_all(everyones, axes, 0, 2, tiled=True)

    cut = P(axes)
    run = jax.shard_map(look_up, mesh=how.mesh, in_specs=(P(None, axes), cut), out_specs=cut, check_vma=False)
    return run(table, tokens)


def cross_entropies(how: How, head: Any, hidden: Any, batch: Batch) -> Any:
    """The cross entropies of all trained tokens, added up, for hidden states (batch, length, hidden).

    The head (vocabulary, hidden) is cut along the vocabulary: each device has all tokens' logits for its own part.
    """
    if how.mesh is None:
        return _added(how, (), head, hidden, batch.labels)
    axes = how.mesh.axis_names
    cut = P(axes)
    run = jax.shard_map(
        lambda *own: _added(how, axes, *own),
        mesh=how.mesh,
        in_specs=(cut, cut, cut),
        out_specs=P(),
        check_vma=False,
    )
    return run(head, hidden, batch.labels)


def scores(how: How, head: Any, hidden: Any) -> Any:
    """Float32 logits of the head's part of the vocabulary for hidden states (..., hidden)."""
    return jnp.einsum("...h,vh->...v", hidden, head.astype(how.dtype), preferred_element_type=jnp.float32)


def _added(how: How, axes: tuple[str, ...], head: Any, hidden: Any, labels: Any) -> Any:
    count, devices = labels.size, int(how.mesh.size) if axes else 1
    tile = next(size for size in range(min(count, max(TILE // devices, 1)), 0, -1) if count % size == 0)

    @jax.checkpoint
    def one(rows: Any, labels: Any) -> Any:
        first = 0
        if axes:
            rows, labels = (jax.lax.all_gather(it, axes, tiled=True) for it in (rows, labels))
            first = jax.lax.axis_index(axes) * head.shape[0]
        logits = scores(how, head, rows)
        top = jax.lax.stop_gradient(logits).max(-1)
        top = jax.lax.pmax(top, axes) if axes else top
        place = labels - first
        here = (place >= 0) & (place < head.shape[0])
        wanted = jnp.take_along_axis(logits, jnp.where(here, place, 0)[:, None], -1)[:, 0]
        sums = jnp.exp(logits - top[:, None]).sum(-1), jnp.where(here, wanted, 0.0)
        total, wanted = jax.lax.psum(sums, axes) if axes else sums
        return jnp.where(labels == IGNORED, 0.0, jnp.log(total) + top - wanted).sum()

    tiles = hidden.reshape(-1, tile, hidden.shape[-1]), labels.reshape(-1, tile)
    return jax.lax.scan(lambda added, it: (added + one(*it), None), jnp.float32(0), tiles)[0]
