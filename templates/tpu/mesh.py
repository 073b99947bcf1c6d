"""How the chips share the work: a rule that is told, and which part of an array each of them holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from failures import BadJob

if TYPE_CHECKING:
    import jax
    from decoder import Decoder
    from jax.sharding import Mesh, PartitionSpec

AXES = ("fsdp", "tp", "expert")
SMALL = 1 << 22  # bytes that may lie on every chip: norms, biases, matrices of tiny models


class Plan(NamedTuple):
    """Chips along each axis: `fsdp` share rows and weights, `tp` share heads and matrices, `expert` share experts."""

    fsdp: int
    tp: int = 1
    expert: int = 1

    @property
    def devices(self) -> int:
        """All of them."""
        return self.fsdp * self.tp * self.expert

    def __str__(self) -> str:
        if self.devices == 1:
            return "one chip"
        shares = (f"{self.fsdp} share rows and weights", f"{self.tp} heads", f"{self.expert} experts")
        counted = zip(self, shares, strict=True)
        return f"{self.devices} chips: " + ", ".join(share for count, share in counted if count > 1)


def plan(devices: int, decoder: Decoder, rows: int) -> Plan:
    """As many chips as the `rows` of a micro-batch allow take rows of their own; the others share their heads.

    Raises BadJob where neither divides.
    """
    fsdp = math.gcd(devices, rows)
    tp = devices // fsdp
    if decoder.heads % tp or decoder.wide % tp:
        raise BadJob(
            f"{devices} chips cannot share a micro_batch of {rows}: {fsdp} would take rows, and {tp} do not divide the "
            f"{decoder.heads} heads; use a micro_batch of {devices}, or a multiple"
        )
    return Plan(fsdp, tp)


def make(chosen: Plan, devices: Sequence[Any] | None = None) -> Mesh | None:
    """The mesh of the process's (or the described) devices; None for a single one."""
    import jax
    from jax.sharding import Mesh

    devices = jax.devices() if devices is None else devices
    if len(devices) < chosen.devices:
        raise BadJob(f"the plan is for {chosen.devices} chips, and there are {len(devices)}")
    if chosen.devices == 1:
        return None
    return Mesh(np.array(devices[: chosen.devices]).reshape(chosen), AXES)


def put(array: Any, mesh: Mesh, cut: PartitionSpec) -> jax.Array:
    """An array of the host on the devices; of several processes, all of which have it, each fills its own devices."""
    import jax
    from jax.sharding import NamedSharding

    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, NamedSharding(mesh, cut), lambda index: whole[index])


def whole(arrays: Any, mesh: Mesh | None) -> Any:
    """Arrays of the devices as arrays of this host, though other processes hold parts: all of them have to call it."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    if mesh is None or jax.process_count() == 1:
        return arrays
    gather = jax.jit(lambda it: it, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return jax.tree.map(np.asarray, gather(arrays))


def cut(
    mesh: Mesh | None, shape: tuple[int, ...], wanted: dict[str, int], units: tuple[int, ...] = ()
) -> PartitionSpec:
    """The part of an array that each device holds.

    `wanted`: the dimension that each axis of the mesh is to divide. Where it does not (in whole `units` of each
    dimension, such as quantisation groups), the axis divides another of these dimensions; else it holds copies.
    """
    from jax.sharding import PartitionSpec

    if mesh is None:
        return PartitionSpec()
    units = units or (1,) * len(shape)
    axes = [axis for axis in wanted if mesh.shape[axis] > 1]
    others = sorted(set(wanted.values()))
    choices = [[wanted[axis], *(place for place in others if place != wanted[axis]), None] for axis in axes]
    best: tuple[int, dict[str, int | None]] = (0, {})
    for places in itertools.product(*choices):
        placed = dict(zip(axes, places, strict=True))
        counts = [math.prod(mesh.shape[axis] for axis in axes if placed[axis] == at) for at in range(len(shape))]
        if any(size % (unit * count) for size, unit, count in zip(shape, units, counts, strict=True) if count > 1):
            continue
        if math.prod(counts) > best[0]:
            best = math.prod(counts), placed
    spread = [tuple(axis for axis in axes if best[1].get(axis) == at) for at in range(len(shape))]
    return PartitionSpec(*(names if len(names) > 1 else names[0] if names else None for names in spread))


def matrix_cut(mesh: Mesh | None, name: str, shape: tuple[int, ...], unit: int = 1) -> PartitionSpec:
    """Of a stack (layers, inputs, outputs): tensor-parallel chips share outputs, and the inputs of `o` and `down`."""
    inward = name in ("o", "down")
    return cut(mesh, shape, {"fsdp": 2, "tp": 1} if inward else {"fsdp": 1, "tp": 2}, (1, unit, 1))


def table_cut(mesh: Mesh | None, shape: tuple[int, ...]) -> PartitionSpec:
    """Of the embedding or the head (vocabulary, hidden): all chips share the vocabulary where they divide it."""
    found = cut(mesh, shape, {"fsdp": 0, "tp": 0})
    return found if mesh is None or any(found) else cut(mesh, shape, {"fsdp": 1, "tp": 1})


def adapter_cut(mesh: Mesh | None, name: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Of half an adapter's stack, (layers, inputs, rank) as `a`, (layers, rank, outputs) as `b`; its moments too."""
    wide = {"a": 1, "b": 2}[name]
    return cut(mesh, shape, {"fsdp": wide, "tp": wide})


def check(arrays: Any, mesh: Mesh | None) -> None:
    """Raise BadJob when a large array lies on every device though they were to share it."""
    import jax

    if mesh is None or mesh.size == 1:
        return
    for path, array in jax.tree_util.tree_leaves_with_path(arrays):
        whole = math.prod(array.shape) * array.dtype.itemsize
        held = math.prod(array.sharding.shard_shape(array.shape)) * array.dtype.itemsize
        if held > SMALL and held * mesh.size > 2 * whole:
            name, size = jax.tree_util.keystr(path, simple=True, separator="."), whole / 1e6
            raise BadJob(
                f"{mesh.size} chips cannot share `{name}` {array.shape}: each would hold {held / 1e6:,.0f} of its "
                f"{size:,.0f} MB; use another number of chips"
            )
