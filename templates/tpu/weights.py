"""Checkpoints on disk to arrays on devices: every device's part is read, turned and quantised by itself.

The host holds one piece at a time: a layer's part of one matrix, or `PIECE` bytes of a table, in the type of the file,
twice (read, and on its way to the device). So for llama-3.1-8b on one chip it is 0.23 GB, and less where chips share.
Turning and quantising happen on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mesh as meshes
import numpy as np
from decoder import Decoder
from failures import BadJob
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from quantise import GROUP, KINDS, check, quantise
from shards import Shards

PIECE = 1 << 26  # bytes of a table that are read at a time

Index = tuple[slice, ...]
Piece = tuple[tuple[int, ...], np.ndarray[Any, Any]]  # where along the first dimensions, and what


def load(
    source: Path, decoder: Decoder, mesh: Mesh | None = None, quantised: str = "", dtype: Any = jnp.bfloat16
) -> Any:
    """All weights of the model: {"layers": {name: stack}, "embedding", "norm", "head" unless it is the embedding}.

    Stacks are (layers, inputs, outputs) or, `quantised` ("nf4", "int8" or "int4"), codes with scales in `dtype`; tables
    are (vocabulary, hidden). `source` is the model's folder. Raises BadJob for weights that are not the model's, or
    that the devices cannot share.
    """
    shards = Shards(source)
    stem = next((stem for stem in decoder.stems if f"{stem}.embed_tokens.weight" in shards), decoder.stems[0])
    wanted = shapes(decoder, mesh, quantised, dtype)
    layers: dict[str, Any] = {}
    for name, (module,) in decoder.modules.items():
        pattern = f"{stem}.layers.{{}}.{module}.weight"
        layers[name] = _stack(shards, pattern, wanted["layers"][name], decoder.matrices[name], quantised)
    for name, (module, size) in decoder.vectors.items():
        layers[name] = _stack(shards, f"{stem}.layers.{{}}.{module}", wanted["layers"][name], (size,))
    found = {"layers": layers, "embedding": table(shards, f"{stem}.embed_tokens.weight", wanted["embedding"])}
    found["norm"] = table(shards, f"{stem}.norm.weight", wanted["norm"])
    if not decoder.tied:
        names = ("lm_head.weight", "language_model.lm_head.weight")
        found["head"] = table(shards, next((name for name in names if name in shards), names[0]), wanted["head"])
    refuse_others(shards, decoder.layers, stem)
    meshes.check(found, mesh)
    return found


def shapes(decoder: Decoder, mesh: Mesh | None, quantised: str = "", dtype: Any = jnp.bfloat16) -> Any:
    """The tree of `load` without values: jax.ShapeDtypeStruct with the part that each device holds."""
    if quantised and quantised not in KINDS:
        raise BadJob(f"weights can be quantised as {', '.join(KINDS)}, not as {quantised}")

    def array(shape: tuple[int, ...], kind: Any, cut: PartitionSpec) -> jax.ShapeDtypeStruct:
        sharding = SingleDeviceSharding(jax.local_devices()[0]) if mesh is None else NamedSharding(mesh, cut)
        return jax.ShapeDtypeStruct(shape, kind, sharding=sharding)

    layers: dict[str, Any] = {}
    for name, (inputs, outputs) in decoder.matrices.items():
        shape = (decoder.layers, inputs, outputs)
        if not quantised:
            layers[name] = array(shape, dtype, meshes.matrix_cut(mesh, name, shape))
            continue
        check(decoder.modules[name][0], inputs)
        cut = meshes.matrix_cut(mesh, name, shape, GROUP)
        scales = array((decoder.layers, inputs // GROUP, outputs), dtype, cut)
        layers[name] = {"codes": array(shape, KINDS[quantised], cut), "scales": scales}
    for name, (_, size) in decoder.vectors.items():
        layers[name] = array((decoder.layers, size), dtype, PartitionSpec())
    table = (decoder.vocab, decoder.hidden)
    found = {"layers": layers, "norm": array((decoder.hidden,), dtype, PartitionSpec())}
    for name in ("embedding",) if decoder.tied else ("embedding", "head"):
        found[name] = array(table, dtype, meshes.table_cut(mesh, table))
    return found


def _stack(shards: Shards, pattern: str, wanted: Any, sizes: tuple[int, ...], quantised: str = "") -> Any:
    """A stack over layers from a tensor of each: (outputs, inputs) in the file, (layers, inputs, outputs) here."""
    whole = wanted["codes"] if quantised else wanted
    for layer in range(whole.shape[0]):
        shards.shape(pattern.format(layer), sizes[::-1])

    def pieces(index: Index) -> Iterator[Piece]:
        layers, *rest = index
        for at, layer in enumerate(range(layers.start, layers.stop)):
            yield (at,), shards.part(pattern.format(layer), tuple(reversed(rest)))[None]

    return spread(wanted, whole, pieces, len(sizes) > 1, quantised)


def table(shards: Shards, name: str, wanted: Any) -> Any:
    """A single tensor, as it is in the file. Raises BadJob when it is not the one that is wanted."""
    shards.shape(name, wanted.shape)

    def pieces(index: Index) -> Iterator[Piece]:
        first, *rest = index
        width = int(np.prod([it.stop - it.start for it in rest])) * 4
        step = max(1, PIECE // width)
        for begin in range(first.start, first.stop, step):
            rows = slice(begin, min(begin + step, first.stop))
            yield (begin - first.start,), shards.part(name, (rows, *rest))

    return spread(wanted, wanted, pieces)


def spread(wanted: Any, whole: Any, pieces: Any, turned: bool = False, quantised: str = "") -> Any:
    """The arrays `wanted`, each device's part put together from pieces; `whole` is what is cut as the file's tensor."""
    parts: list[list[Any]] = []
    places = jax.tree.leaves(wanted)
    for device, index in whole.sharding.addressable_devices_indices_map(whole.shape).items():
        bounds = tuple(slice(*it.indices(size)[:2]) for it, size in zip(index, whole.shape, strict=True))
        held = [
            jnp.zeros(place.sharding.shard_shape(place.shape), place.dtype, device=SingleDeviceSharding(device))
            for place in places
        ]
        for at, piece in pieces(bounds):
            held = _place(held, jax.device_put(piece, device), at, turned, quantised)
            jax.block_until_ready(held)  # or pieces would pile up on the host
        parts.append(held)
    arrays = [
        jax.make_array_from_single_device_arrays(place.shape, place.sharding, list(pieces))
        for place, pieces in zip(places, zip(*parts, strict=True), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(wanted), arrays)


@partial(jax.jit, donate_argnums=0, static_argnums=(3, 4))
def _place(held: list[Any], piece: Any, at: Any, turned: bool, quantised: str) -> list[Any]:
    """The arrays with a piece put in at that place of their first dimensions, on the device that has them."""
    made = piece.swapaxes(-1, -2) if turned else piece
    news = jax.tree.leaves(quantise(made, quantised) if quantised else made)
    pairs = zip(held, news, strict=True)
    return [
        jax.lax.dynamic_update_slice(array, new.astype(array.dtype), (*at, *(0,) * (array.ndim - len(at))))
        for array, new in pairs
    ]


def refuse_others(shards: Shards, layers: int, stem: str) -> None:
    """Raise BadJob for layers that the weights have beyond those of the configuration: it is another model's."""
    beyond = f"{stem}.layers.{layers}."
    if any(name.startswith(beyond) for name in shards):
        raise BadJob(f"the weights have more layers than the {layers} of the model's config.json")
