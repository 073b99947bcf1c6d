"""LongCat's mixture: a router in float32, experts in one grouped multiplication, tokens sent to the devices with them.

Rows only ever move by look-ups, in backward too: each move knows its way back. A TPU adds up scattered rows slowly, and
in bf16 not exactly.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from model import How
from quantise import matrix

from longcat import LongCat


class Picks(NamedTuple):
    """How often an expert (identities apart) was picked, and how many of these found no place: int32."""

    made: Any
    dropped: Any


class Routes(NamedTuple):
    """Where a device's picks go. A slot is a place at one of the devices; a number past the last means nowhere."""

    slot: Any  # (picks,) the slot of each pick
    pick: Any  # (devices x places,) the pick in each slot
    picks: Picks


class Chips(NamedTuple):
    """Who shares the experts: devices along the axes of a mesh, or one device and no axis."""

    axes: tuple[str, ...] = ()
    count: int = 1


def mixture(cat: LongCat, how: How, rows: Any, weights: Any, real: Any) -> tuple[Any, Picks]:
    """The experts' weighted sum for rows (batch, length, hidden), and the picks counted over all devices.

    `weights`: router (hidden, everyone), router_bias (everyone,), experts {name: (experts, inputs, outputs)}.
    `real` (batch, length): what is no padding; equal tokens in great number would take the places of all others.
    """
    weights = {name: weights[name] for name in ("router", "router_bias", "experts")}
    flat = rows.reshape(-1, cat.hidden), real.reshape(-1)
    if how.mesh is None:
        out, picks = _mixed(cat, Chips(), *flat, weights)
        return out.reshape(rows.shape), picks
    chips = Chips(how.mesh.axis_names, int(how.mesh.size))
    cut = P(chips.axes)
    whole = {"router": P(), "router_bias": P()}
    run = jax.shard_map(
        partial(_mixed, cat, chips),
        mesh=how.mesh,
        in_specs=(cut, cut, {**whole, "experts": jax.tree.map(lambda _: cut, weights["experts"])}),
        out_specs=(cut, P()),
        check_vma=False,
    )
    out, picks = run(*flat, weights)
    return out.reshape(rows.shape), picks


def _mixed(cat: LongCat, chips: Chips, rows: Any, real: Any, weights: Any) -> tuple[Any, Picks]:
    """One device's rows (tokens, hidden) through everybody's experts; those in `weights` are this device's own."""
    picks, shares = chosen(cat, rows, weights["router"], weights["router_bias"])
    picks = jnp.where(real[:, None], picks, cat.experts)  # as if padding chose identities alone
    out = rows.astype(jnp.float32) * jnp.where(picks >= cat.experts, shares, 0).sum(-1, keepdims=True)
    own, places = cat.experts // chips.count, cat.places(rows.shape[0], chips.count)
    routes = routed(cat, picks.reshape(-1), chips.count, places)

    sent = moved(rows, routes.pick // cat.chosen, routes.slot.reshape(picks.shape))
    kind = picks.reshape(-1).at[routes.pick].get(mode="fill", fill_value=own)
    kind = jnp.where(routes.pick < picks.size, kind % own, own)
    done = own_experts(own, _exchanged(sent, chips), _exchanged(kind, chips), weights["experts"])
    done = _exchanged(done, chips)

    back = moved(done, routes.slot, routes.pick[:, None]).reshape(*picks.shape, cat.hidden)
    out = out + (back.astype(jnp.float32) * shares[..., None]).sum(1)
    return out.astype(rows.dtype), jax.lax.psum(routes.picks, chips.axes) if chips.axes else routes.picks


def chosen(cat: LongCat, rows: Any, router: Any, bias: Any) -> tuple[Any, Any]:
    """Each token's picks among experts and identities, and their shares: (tokens, chosen) int32 and float32.

    The bias evens out who is chosen; it has no part in the shares.
    """
    logits = jnp.matmul(rows.astype(jnp.float32), router.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    scores = jax.nn.softmax(logits, -1)
    _, picks = jax.lax.top_k(jax.lax.stop_gradient(scores) + bias.astype(jnp.float32), cat.chosen)
    return picks, jnp.take_along_axis(scores, picks, -1) * cat.routed_scale


def routed(cat: LongCat, picks: Any, devices: int, places: int) -> Routes:
    """Slots for picks (picks,), in the order of the tokens as long as the device that holds the expert has places."""
    count, slots = picks.size, devices * places
    device = jnp.minimum(picks // (cat.experts // devices), devices)  # `devices`: an identity, which goes nowhere
    order = jnp.argsort(device)
    standing = device[order]
    before = jnp.arange(count) - jnp.searchsorted(standing, standing)  # picks of the same device that come before
    before = jnp.zeros(count, jnp.int32).at[order].set(before.astype(jnp.int32))
    real = device < devices
    placed = real & (before < places)
    slot = jnp.where(placed, device * places + before, slots).astype(jnp.int32)
    pick = jnp.full(slots, count, jnp.int32).at[slot].set(jnp.arange(count, dtype=jnp.int32), mode="drop")
    return Routes(slot, pick, Picks(real.sum(dtype=jnp.int32), (real & ~placed).sum(dtype=jnp.int32)))


def own_experts(own: int, rows: Any, kind: Any, experts: Any) -> Any:
    """Rows (slots, hidden), each through the expert `kind` of this device's `own`; kind `own` is no expert."""
    order = jnp.argsort(kind)
    inverse = jnp.zeros_like(order).at[order].set(jnp.arange(order.size, dtype=order.dtype))
    sizes = jnp.bincount(kind, length=own).astype(jnp.int32)
    rows = moved(rows, order, inverse[:, None])
    gate, up = _products(rows, experts["gate"], sizes), _products(rows, experts["up"], sizes)
    return moved(_products(jax.nn.silu(gate) * up, experts["down"], sizes), inverse, order[:, None])


@jax.checkpoint
def _products(rows: Any, weight: Any, sizes: Any) -> Any:
    """Rows, sorted by expert, times their experts' matrices.

    Backward puts the matrices back once more: all three kept until then would be gigabytes, and each of them twice.
    """
    return jax.lax.ragged_dot(rows, _matrices(weight, rows.dtype), sizes)


def _matrices(weight: Any, dtype: Any) -> Any:
    """All experts' matrices, of which one at a time is put back from its codes.

    The compiler writes the scales out to the size of what they multiply, in float32: for one that is little.
    """
    return jax.lax.map(lambda one: matrix(one, dtype), weight) if isinstance(weight, dict) else matrix(weight, dtype)


def _exchanged(rows: Any, chips: Chips) -> Any:
    """What the devices have in their slots for each other; the same again brings it back."""
    if chips.count == 1:
        return rows
    split = rows.reshape(chips.count, -1, *rows.shape[1:])
    return jax.lax.all_to_all(split, chips.axes, 0, 0, tiled=True).reshape(rows.shape)


@jax.custom_vjp
def moved(rows: Any, source: Any, targets: Any) -> Any:
    """Rows (n, width) taken from their places `source` (m,), zeros where that is past the last.

    `targets` (n, copies) is the way back: where in the result each row stands, past the last for nowhere.
    """
    del targets
    return rows.at[source].get(mode="fill", fill_value=0)


def _moved_forward(rows: Any, source: Any, targets: Any) -> tuple[Any, Any]:
    return moved(rows, source, targets), targets


def _moved_backward(targets: Any, gradient: Any) -> tuple[Any, None, None]:
    if targets.shape[1] == 1:
        return gradient.at[targets[:, 0]].get(mode="fill", fill_value=0), None, None
    copies = gradient.at[targets].get(mode="fill", fill_value=0)
    return copies.astype(jnp.float32).sum(1).astype(gradient.dtype), None, None


moved.defvjp(_moved_forward, _moved_backward)
