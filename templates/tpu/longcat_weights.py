"""LongCat's published checkpoint to arrays on devices: each process reads what its own devices hold, and quantises it.

The host never holds more than one layer's experts of one kind and one device, as codes, and for every reading thread one
matrix as it is quantised: 0.4 GB and 0.2 GB a thread for LongCat-Flash in int4 on 16 devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import machine
import numpy as np
from failures import BadJob
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from longcat import ATTENTION, DENSE, EXPERTS, HALVES, NORMS, LongCat
from quantise import GROUP, quantise
from weights import Shards

LAYER = "model.layers.{}."
ROUTER = "mlp.router.classifier.weight"
BIAS = "mlp.router.e_score_correction_bias"
SCALES = jnp.bfloat16
Cut = tuple[slice, ...]


def load(source: Any, cat: LongCat, mesh: Mesh | None, quantised: str = "", dtype: Any = jnp.bfloat16) -> Any:
    """All weights, matrices as (inputs, outputs), those of layers stacked.

    {"layers": {"halves": {name: (layers, 2, ...)}, "experts": {name: (layers, experts, ...)}, "router", "router_bias"},
    "embedding": (vocabulary, hidden), "norm", "head": (hidden, vocabulary)}. Embedding, head, norms and routers are not
    quantised, and routers stay in float32. Raises BadJob for a checkpoint without one of them, or of another shape, and
    for devices over which the experts cannot be spread.
    """
    shards, places = Shards(source), cuts(cat, mesh)
    layers = [LAYER.format(at) for at in range(cat.layers)]

    def halves(name: str) -> np.ndarray:
        return np.array([[f"{layer}{name.format(half)}.weight" for half in range(HALVES)] for layer in layers])

    def experts(name: str) -> np.ndarray:
        return np.array([[f"{layer}{name.format(at)}.weight" for at in range(cat.experts)] for layer in layers])

    with ThreadPoolExecutor(machine.usable_cores()) as readers:
        stack = _Stacker(shards, mesh, readers)
        found: dict[str, Any] = {"halves": {}, "experts": {}}
        for name, module in (ATTENTION | DENSE).items():
            cut = places["halves"][name]
            found["halves"][name] = stack(halves(module), cat.matrices[name], cut, dtype, quantised)
        for name, module in NORMS.items():
            found["halves"][name] = stack(halves(module), (cat.vectors[name],), P(), dtype)
        for name, module in EXPERTS.items():
            cut = places["experts"][name]
            found["experts"][name] = stack(experts(module), cat.expert_matrices[name], cut, dtype, quantised)
        found["router"] = stack(
            np.array([layer + ROUTER for layer in layers]), (cat.hidden, cat.everyone), places["router"], jnp.float32
        )
        found["router_bias"] = stack(np.array([layer + BIAS for layer in layers]), (cat.everyone,), P(), jnp.float32)
        table = np.array("model.embed_tokens.weight")
        return {
            "layers": found,
            "embedding": stack(table, (cat.vocab, cat.hidden), places["embedding"], dtype, turned=False),
            "norm": stack(np.array("model.norm.weight"), (cat.hidden,), P(), dtype),
            "head": stack(np.array("lm_head.weight"), (cat.hidden, cat.vocab), places["head"], dtype),
        }


def cuts(cat: LongCat, mesh: Mesh | None) -> dict[str, Any]:
    """Over which axis each large array is cut among all devices; what is not named here is small, and whole everywhere.

    Raises BadJob when the experts, or what is beside them, cannot be spread evenly.
    """
    if mesh is None:
        names = {"halves": cat.matrices, "experts": cat.expert_matrices}
        return {**{kind: dict.fromkeys(of, P()) for kind, of in names.items()}, **dict.fromkeys(WHOLE, P())}
    axes, devices = mesh.axis_names, int(mesh.size)
    for count, what in ((cat.experts, "experts"), (cat.vocab, "tokens of its vocabulary"), (cat.hidden, "numbers")):
        if count % devices:
            raise BadJob(f"the model's {count} {what} cannot be spread over {devices} devices: {_dividers(cat)}")
    return {
        "halves": {name: _matrix_cut(*size, axes, devices) for name, size in cat.matrices.items()},
        "experts": dict.fromkeys(cat.expert_matrices, P(None, axes)),
        "router": P(None, axes),
        "embedding": P(None, axes),
        "head": P(None, axes),
    }


WHOLE = ("router", "embedding", "head")


def _matrix_cut(inputs: int, outputs: int, axes: tuple[str, ...], devices: int) -> P:
    """Along the outputs, else along the inputs in whole quantisation groups, of (layers, halves, inputs, outputs)."""
    if outputs % devices == 0:
        return P(None, None, None, axes)
    if inputs % (GROUP * devices) == 0:
        return P(None, None, axes)
    raise BadJob(f"a matrix of {inputs} x {outputs} cannot be cut into {devices} parts of whole groups of {GROUP}")


def _dividers(cat: LongCat) -> str:
    fit = [count for count in (1, 2, 4, 8, 16, 32, 64, 128, 256) if not (cat.experts % count or cat.hidden % count)]
    return f"take {', '.join(map(str, fit))}"


class _Stacker:
    """Arrays of many tensors of one shape, built on the devices that hold their parts."""

    def __init__(self, shards: Shards, mesh: Mesh | None, readers: ThreadPoolExecutor) -> None:
        self._shards, self._readers = shards, readers
        self._mesh = mesh or Mesh(np.array(jax.local_devices()[:1]), ("one",))

    def __call__(
        self, names: np.ndarray, shape: tuple[int, ...], cut: P, dtype: Any, quantised: str = "", turned: bool = True
    ) -> Any:
        """An array (*names' shape, *shape), or its codes and scales. Files have matrices turned: (outputs, inputs)."""
        whole = (*names.shape, *shape)
        sharding = NamedSharding(self._mesh, cut)
        turned = turned and len(shape) == 2
        parts: dict[str, list[Any]] = {}
        for device, index in sharding.addressable_devices_indices_map(whole).items():
            mine = tuple(slice(*it.indices(size)) for it, size in zip(index, whole, strict=True))
            read = self._reader(shape, mine[names.ndim :], dtype, quantised, turned)
            for name, part in self._part(device, names[mine[: names.ndim]], read).items():
                parts.setdefault(name, []).append(part)
        made = {}
        for name, pieces in parts.items():
            full = (*whole[:-2], whole[-2] // GROUP, whole[-1]) if name == "scales" else whole
            made[name] = jax.make_array_from_single_device_arrays(full, sharding, pieces)
        return made.get("plain", made)

    def _reader(
        self, shape: tuple[int, ...], cut: Cut, dtype: Any, quantised: str, turned: bool
    ) -> Callable[[str], dict[str, np.ndarray]]:
        def read(name: str) -> dict[str, np.ndarray]:
            found = self._shards.part(str(name), cut[::-1] if turned else cut)
            found = found.T if turned else found
            wanted = tuple(len(range(*it.indices(size))) for it, size in zip(cut, shape, strict=True))
            if found.shape != wanted:
                raise BadJob(f"the checkpoint's {name} has another shape than config.json says")
            return quantise(found, quantised, SCALES) if quantised else {"plain": found.astype(dtype)}

        return read

    def _part(self, device: Any, names: np.ndarray, read: Callable[[str], dict[str, np.ndarray]]) -> dict[str, Any]:
        """One device's part, of which the host holds only what is under one of the first axis (a layer)."""
        if names.ndim == 0:
            return {name: jax.device_put(array, device) for name, array in read(str(names)).items()}
        made: dict[str, Any] = {}
        for at, layer in enumerate(names):
            pieces = list(self._readers.map(read, layer.reshape(-1)))
            for name in pieces[0]:
                piece = np.stack([it[name] for it in pieces])
                piece = piece.reshape(*layer.shape, *piece.shape[1:])
                if name not in made:
                    made[name] = _empty(device, (len(names), *piece.shape), piece.dtype)
                made[name] = _filled(made[name], jax.device_put(piece, device), at)
            del pieces
        return made


def _empty(device: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=SingleDeviceSharding(device))()


def _put(stack: Any, piece: Any, at: Any) -> Any:
    return jax.lax.dynamic_update_index_in_dim(stack, piece, at, 0)


_filled = jax.jit(_put, donate_argnums=0)
