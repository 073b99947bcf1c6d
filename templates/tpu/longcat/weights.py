"""LongCat's published checkpoint to arrays on devices: each process reads what its own devices hold.

As in weights.py the host holds one piece at a time, which here is one expert's matrix: 25 MB, twice. Turning and
quantising happen on the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mesh as meshes
import numpy as np
from failures import BadJob
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from quantise import GROUP, KINDS, check
from shards import Shards
from weights import Index, Piece, refuse_others, spread, table

from longcat import EXPERTS, HALVES, MODULES, NORMS, ROUTER, LongCat
from longcat import mesh as longcat_mesh

LAYER = "model.layers.{}."
BIAS = "mlp.router.e_score_correction_bias"
TABLES = {"embedding": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}
SCALES = jnp.bfloat16  # of quantised groups: in float32 they would be another 17.5 GB, for a thousandth of their error
LANES = 128  # a device stores an array's last dimension in whole multiples of it


def load(source: Path, cat: LongCat, mesh: Mesh | None = None, quantised: str = "", dtype: Any = jnp.bfloat16) -> Any:
    """All weights of the model, laid out as `shapes` says. `source` is the model's folder.

    Raises BadJob for weights that are not the model's, or that the devices cannot share.
    """
    shards = Shards(source)
    wanted = shapes(cat, mesh, quantised, dtype)
    found = {name: table(shards, tensor, wanted[name]) for name, tensor in TABLES.items()}
    found["layers"] = jax.tree.map(partial(_stack, shards, quantised), _names(cat), wanted["layers"])
    refuse_others(shards, cat.layers, cat.stem)
    meshes.check(found, mesh)
    return found


def shapes(cat: LongCat, mesh: Mesh | None = None, quantised: str = "", dtype: Any = jnp.bfloat16) -> Any:
    """The tree of `load` without values: jax.ShapeDtypeStruct with the part that each device holds.

    {"layers": {"halves": {name: (layers, 2, ...)}, "experts": {name: (layers, experts, inputs, outputs)},
    "router": (layers, hidden, everyone), "router_bias"}, "embedding" and "head" (vocabulary, hidden), "norm"}.
    Quantised are the matrices of halves and experts; routers stay in float32.
    """
    if quantised and quantised not in KINDS:
        raise BadJob(f"weights can be quantised as {', '.join(KINDS)}, not as {quantised}")
    axes, devices = ((), 1) if mesh is None else (mesh.axis_names, int(mesh.size))
    longcat_mesh.check(cat, devices)

    def array(shape: tuple[int, ...], kind: Any, cut: P = P()) -> jax.ShapeDtypeStruct:  # noqa: B008  # immutable
        where = SingleDeviceSharding(jax.local_devices()[0]) if mesh is None else NamedSharding(mesh, cut)
        return jax.ShapeDtypeStruct(shape, kind, sharding=where)

    def weight(lead: tuple[int, int], size: tuple[int, int], cut: P, module: str) -> Any:
        if not quantised:
            return array((*lead, *size), dtype, cut)
        check(module, size[0])
        scales = array((*lead, size[0] // GROUP, size[1]), SCALES, cut)
        return {"codes": array((*lead, *size), KINDS[quantised], cut), "scales": scales}

    twice, each = (cat.layers, HALVES), (cat.layers, cat.experts)
    halves = {n: weight(twice, size, _cut(size, axes, devices), MODULES[n]) for n, size in cat.matrices.items()}
    halves |= {n: array((*twice, size), dtype) for n, size in cat.vectors.items()}
    experts = {n: weight(each, size, P(None, axes), EXPERTS[n]) for n, size in cat.expert_matrices.items()}
    router = array((cat.layers, cat.hidden, cat.everyone), jnp.float32, P(None, axes))
    bias = array((cat.layers, cat.everyone), jnp.float32)
    return {
        "layers": {"halves": halves, "experts": experts, "router": router, "router_bias": bias},
        "embedding": array((cat.vocab, cat.hidden), dtype, P(None, axes)),
        "head": array((cat.vocab, cat.hidden), dtype, P(axes)),
        "norm": array((cat.hidden,), dtype),
    }


def _cut(size: tuple[int, int], axes: tuple[str, ...], devices: int) -> P:
    """Of a matrix that is there twice in a layer: the outputs where the parts are whole lanes, else the inputs."""
    inputs, outputs = size
    along_inputs, along_outputs = P(None, None, axes), P(None, None, None, axes)
    if outputs % (LANES * devices) == 0:
        return along_outputs
    if inputs % (GROUP * devices) == 0:
        return along_inputs
    if outputs % devices == 0:
        return along_outputs
    raise BadJob(f"{devices} chips cannot share a matrix of {inputs} x {outputs}: use another number of chips")


def _names(cat: LongCat) -> dict[str, Any]:
    """The tensors of each stack in the checkpoint, as an array of their names in the stack's first dimensions."""
    layers = [LAYER.format(at) for at in range(cat.layers)]

    def of(module: str, count: int) -> np.ndarray[Any, Any]:
        return np.array([[f"{layer}{module.format(at)}.weight" for at in range(count)] for layer in layers])

    return {
        "halves": {name: of(module, HALVES) for name, module in (MODULES | NORMS).items()},
        "experts": {name: of(module, cat.experts) for name, module in EXPERTS.items()},
        "router": np.array([f"{layer}{ROUTER}.weight" for layer in layers]),
        "router_bias": np.array([layer + BIAS for layer in layers]),
    }


def _stack(shards: Shards, quantised: str, names: np.ndarray[Any, Any], wanted: Any) -> Any:
    """An array of many tensors; a matrix is (outputs, inputs) in the file, (inputs, outputs) here."""
    whole, count = wanted["codes"] if isinstance(wanted, dict) else wanted, names.ndim
    for name in names.flat:
        shards.shape(str(name), whole.shape[count:][::-1])

    def pieces(index: Index) -> Iterator[Piece]:
        lead, rest = index[:count], tuple(reversed(index[count:]))
        for at in itertools.product(*(range(it.stop - it.start) for it in lead)):
            place = tuple(it.start + offset for it, offset in zip(lead, at, strict=True))
            yield at, shards.part(str(names[place]), rest)[(None,) * count]

    turned = whole.ndim > count + 1
    return spread(wanted, whole, pieces, turned, quantised if isinstance(wanted, dict) else "")
