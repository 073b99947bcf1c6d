"""Run in the JAX environment, once for all: what our decoder makes of the models of `reference.py`, one JSON line a check.

python parity.py FOLDER CHECK...: a check is a family's name, or one of those below.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import adapters
import decoder
import jax
import jax.numpy as jnp
import mesh as meshes
import model
import numpy as np
import quantise
import weights
from failures import BadJob
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file, save_file

FOLDER = Path(sys.argv[1])
RATE = 1e-3
EXACT = model.How(jnp.float32)
PLANS = (meshes.Plan(8), meshes.Plan(4, 2), meshes.Plan(2, 4))


def batch_of(answer: dict[str, Any]) -> model.Batch:
    """The reference's rows in our form: each position's label is the next token of its document."""
    positions, labels = answer["positions"], answer["labels"]
    following = np.concatenate([labels[:, 1:], np.full_like(labels[:, :1], model.IGNORED)], 1)
    segments = np.cumsum(positions == 0, 1)
    return model.Batch(*(np.asarray(it, np.int32) for it in (answer["tokens"], following, positions, segments)))


@cache
class Family:
    """A model of the reference, its adapter and its rows."""

    def __init__(self, name: str) -> None:
        self.folder = FOLDER / name
        self.decoder = decoder.read(self.folder)
        self.answer = load_file(self.folder / "answer.safetensors")
        self.batch = batch_of(self.answer)
        self.start = adapters.read(self.folder / "adapter", self.decoder)
        self.compiled: dict[model.How, Any] = {}
        self.trained = int((self.batch.labels != model.IGNORED).sum())

    def weights(self, mesh: Any = None, quantised: str = "", dtype: Any = jnp.float32) -> Any:
        """Its weights on the devices."""
        return weights.load(self.folder, self.decoder, mesh, quantised, dtype)

    def loss(self, how: model.How, loaded: Any, batch: Any = None, key: Any = None) -> tuple[float, Any]:
        """The sum of the losses, and the adapters' gradients; compiled once for all that looks alike."""
        if how not in self.compiled:

            def loss_sum(pairs: Any, loaded: Any, batch: Any, key: Any) -> Any:
                return model.loss_sum(self.decoder, how, loaded, pairs, batch, key)

            self.compiled[how] = jax.jit(jax.value_and_grad(loss_sum))
        value, gradient = self.compiled[how](self.start, loaded, self.batch if batch is None else batch, key)
        return float(value), jax.tree.map(np.asarray, gradient)


class Adam:
    """PyTorch's AdamW behind a clip of the norm at 1, in numpy: nothing here is compiled."""

    def __init__(self) -> None:
        self.step, self.first, self.second = 0, 0.0, 0.0

    def __call__(self, values: np.ndarray[Any, Any], gradient: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The values after a step."""
        gradient = gradient * min(1.0, 1 / (float(np.linalg.norm(gradient)) + 1e-6))
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        deviation = np.sqrt(self.second / (1 - 0.999**self.step)) + 1e-8
        return values - RATE * self.first / (1 - 0.9**self.step) / deviation


def apart(ours: Any, theirs: Any) -> float:
    """Relative difference by the Frobenius norm."""
    return float(np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs))


def furthest(ours: Any, theirs: Any) -> float:
    """The largest relative difference of an array in two trees."""
    return max(jax.tree.leaves(jax.tree.map(apart, ours, theirs)))


def family(name: str) -> dict[str, Any]:
    """Logits, losses and gradients of one family."""
    it = Family(name)
    loaded = it.weights()
    logits = jax.jit(lambda pairs: model.logits(it.decoder, EXACT, loaded, pairs, it.batch))(it.start)
    made = jax.jit(jax.value_and_grad(lambda pairs: model.loss_sum(it.decoder, EXACT, loaded, pairs, it.batch)))
    leaves, tree = jax.tree.flatten(it.start)
    flat, rule, losses, first = np.concatenate([leaf.ravel() for leaf in leaves]), Adam(), [], None
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    for _ in it.answer["losses"]:
        parts = [part.reshape(leaf.shape) for part, leaf in zip(np.split(flat, ends), leaves, strict=True)]
        value, gradient = made(jax.tree.unflatten(tree, [part.astype(np.float32) for part in parts]))
        first = gradient if first is None else first
        losses.append(float(value) / it.trained)
        pulled = np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(gradient)])
        flat = rule(flat, pulled / it.trained)
    theirs = adapters.read(it.folder / "gradients.safetensors", it.decoder)
    ours = jax.tree.map(lambda leaf: np.asarray(leaf) / it.trained, first)
    expected = it.answer["logits"]
    return {
        "logits": float(np.abs(np.asarray(logits) - expected).max() / np.abs(expected).max()),
        "losses": max(abs(a - b) / b for a, b in zip(losses, it.answer["losses"].tolist(), strict=True)),
        "gradients": {f"{n}.{s}": apart(ours[n][s], theirs[n][s]) for n in theirs for s in theirs[n]},
        "adapted": sorted(theirs),
        "fell": losses[-1] < losses[0],
    }


def nf4() -> dict[str, Any]:
    """Codes and scales against bitsandbytes; a model's loss and gradients against its own dequantised weights."""
    told = load_file(FOLDER / "nf4.safetensors")
    packed = quantise.quantise(told["weight"].T, "nf4")
    it = Family("llama")
    four, plain = it.weights(quantised="nf4"), it.weights()
    for name in it.decoder.matrices:
        plain["layers"][name] = quantise.matrix(four["layers"][name], jnp.float32)
    (ours, mine), (theirs, whole) = it.loss(EXACT, four), it.loss(EXACT, plain)
    made = np.asarray(quantise.matrix(packed, jnp.float32)).T
    return {
        "largest difference": float(np.abs(made - told["dequantised"]).max()),
        "bits": [str(packed["codes"].dtype), str(packed["scales"].dtype)],
        "loss": abs(ours - theirs) / theirs,
        "gradients": furthest(mine, whole),
    }


def coarse() -> dict[str, Any]:
    """Relative error of each kind on a matrix of normal numbers."""
    weight = np.random.default_rng(0).standard_normal((256, 128)).astype(np.float32)
    back = {kind: quantise.matrix(quantise.quantise(weight, kind), jnp.float32) for kind in quantise.KINDS}
    return {kind: apart(found, weight) for kind, found in back.items()}


def sharded(name: str = "llama", kind: str = "", plans: tuple[meshes.Plan, ...] = PLANS) -> dict[str, Any]:
    """Eight devices in several meshes against one: loss, gradients and the bytes that each holds."""
    found: dict[str, Any] = {}
    it = Family(name)
    batch = model.Batch(*(np.tile(array, (4, 1)) for array in it.batch))
    alone, one = it.loss(EXACT, it.weights(quantised=kind), batch)
    for plan in plans:
        mesh = meshes.make(plan)
        loaded = it.weights(mesh, kind)
        cut = NamedSharding(mesh, PartitionSpec("fsdp"))
        rows = model.Batch(*(jax.device_put(array, cut) for array in batch))
        loss, gradient = it.loss(EXACT._replace(mesh=mesh), loaded, rows)
        arrays = jax.tree.leaves(loaded)
        shards = [shard for array in arrays for shard in array.addressable_shards]
        held = [sum(shard.data.nbytes for shard in shards if shard.device == each) for each in mesh.devices.flat]
        large = [array for array in arrays if array.ndim > 1 and array.size > 2000]
        found[str(plan)] = {
            "loss": abs(loss - alone) / alone,
            "gradients": furthest(gradient, one),
            "held": max(held) / sum(array.nbytes for array in arrays),
            "copies": max(
                shard.data.nbytes * 8 / array.nbytes for array in large for shard in array.addressable_shards
            ),
        }
    return found


def packed() -> dict[str, Any]:
    """Two documents in a row against each in a row of its own, filled up with padding."""
    it = Family("gemma2")
    loaded = it.weights()
    together, one = it.loss(EXACT, loaded)
    parts = []
    for begin, end in ((0, 24), (24, 40)):
        alone = [np.zeros_like(array) for array in it.batch]
        alone[1] += model.IGNORED
        for to, array in zip(alone, it.batch, strict=True):
            to[:, : end - begin] = array[:, begin:end]
        alone[3][:, : end - begin] = 1
        parts.append(it.loss(EXACT, loaded, model.Batch(*alone)))
    apart_ = jax.tree.map(np.add, parts[0][1], parts[1][1])
    return {"loss": abs(sum(loss for loss, _ in parts) - together) / together, "gradients": furthest(apart_, one)}


def variants() -> dict[str, Any]:
    """What must not change the result: keeping activations, smaller tiles of the loss."""
    it = Family("llama")
    loaded = it.weights()
    usual, one = it.loss(EXACT, loaded)
    kept, other = it.loss(EXACT._replace(remat=False), loaded)
    whole, model.TILE_BYTES = model.TILE_BYTES, 96 * 4 * 2 * 8
    tiles = model._tiles(it.decoder, EXACT, 2, 40)
    tiled, third = it.loss(EXACT._replace(interpret=True), loaded)  # which dense attention does not look at
    model.TILE_BYTES = whole
    return {
        "kept": abs(kept - usual) / usual,
        "kept gradients": furthest(other, one),
        "tiles": tiles,
        "tiled": abs(tiled - usual) / usual,
        "tiled gradients": furthest(third, one),
    }


def dropout() -> dict[str, Any]:
    """Draws by key; on average nothing changes; in a layer each adapter has draws of its own."""
    it = Family("llama")
    rows = jnp.ones((1, 4, 64), jnp.float32)
    how = EXACT._replace(dropout=0.25)

    def draw(key: int, name: str) -> np.ndarray[Any, Any]:
        return np.asarray(model._Layer(it.decoder, how, {}, {}, jax.random.key(key)).dropped(rows, name))

    first = draw(0, "q")
    loaded = it.weights()
    losses = [it.loss(how, loaded, key=jax.random.key(seed))[0] for seed in (1, 1, 2)]
    many = np.mean([draw(key, "q") for key in range(40)])
    return {
        "values": sorted({round(float(value), 4) for value in first.ravel()}),
        "mean": float(many),
        "same key": bool((first == draw(0, "q")).all()),
        "other adapter": float((first != draw(0, "k")).mean()),
        "losses": losses,
        "plain": it.loss(EXACT, loaded)[0],
    }


def splash() -> dict[str, Any]:
    """The kernel, interpreted, against dense attention: short heads, an awkward length, windows, caps, few keys."""
    it = Family("gemma2")
    loaded = it.weights()
    dense, one = it.loss(EXACT, loaded)
    kernel, other = it.loss(EXACT._replace(attention="splash", interpret=True), loaded)
    return {"loss": abs(kernel - dense) / dense, "gradients": furthest(other, one)}


def exported() -> dict[str, Any]:
    """Write adapters as PEFT files, and our own logits in bf16 with them; both are opened by PEFT afterwards."""
    found = {}
    for name in ("llama", "phi3", "gemma3"):
        it = Family(name)
        out = it.folder / "exported"
        out.mkdir(exist_ok=True)
        adapters.write(out, it.decoder, it.start, str(it.folder), alpha=8)
        again = adapters.read(out, it.decoder)
        results = {}
        for kind, how in (("bf16", model.How(jnp.bfloat16)), ("exact", EXACT)):
            loaded = it.weights(dtype=how.dtype)
            logits = jax.jit(
                lambda it=it, how=how, loaded=loaded: model.logits(it.decoder, how, loaded, it.start, it.batch)
            )
            results[kind] = np.asarray(logits())
        save_file(results, it.folder / "ours.safetensors")
        found[name] = furthest(again, it.start)
    return found


def memory() -> dict[str, Any]:
    """Host memory of loading a model of many layers, in layers and in the whole model."""
    folder = FOLDER / "deep"
    folder.mkdir(exist_ok=True)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 60, "vocab_size": 512}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **sizes, **heads}))
    known = decoder.read(folder)
    tensors = {
        f"model.layers.{at}.{module}.weight": (outputs, inputs)
        for at in range(60)
        for name, (module,) in known.modules.items()
        for inputs, outputs in [known.matrices[name]]
    }
    tensors |= {f"model.layers.{at}.{module}": (size,) for at in range(60) for module, size in known.vectors.values()}
    tensors |= {"model.embed_tokens.weight": (512, 256), "lm_head.weight": (512, 256), "model.norm.weight": (256,)}
    whole = {name: np.full(shape, 0.5, np.float32) for name, shape in tensors.items()}
    save_file(whole, folder / "model.safetensors")
    size = sum(array.nbytes for array in whole.values())
    del whole
    loaded = weights.load(folder, known, dtype=jnp.float32)  # what is made only once
    del loaded
    tracemalloc.start()
    loaded = weights.load(folder, known, dtype=jnp.float32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    right = all(bool((leaf == 0.5).all()) for leaf in jax.tree.leaves(loaded))
    return {"peak": peak, "piece": 256 * 512 * 4, "model": size, "right": right}


def refusals() -> dict[str, Any]:
    """What is said of models and meshes that cannot be."""
    it = Family("llama")
    config = json.loads((it.folder / "config.json").read_text())

    def said(act: Callable[[], Any]) -> str:
        try:
            act()
        except BadJob as error:
            return str(error)
        return "nothing"

    def loaded(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
        folder = FOLDER / "spoilt"
        folder.mkdir(exist_ok=True)
        tensors = load_file(it.folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        return lambda: weights.load(folder, it.decoder)

    def cut_short() -> Any:
        path = FOLDER / "spoilt" / "model.safetensors"
        path.write_bytes((it.folder / "model.safetensors").read_bytes()[:-100])
        return weights.load(path.parent, it.decoder)

    key = "model.layers.1.mlp.up_proj.weight"
    eight = meshes.make(meshes.Plan(8))
    odd = replace(it.decoder, vocab=1_000_003, hidden=67)
    return {
        "family": said(lambda: decoder.from_config({"model_type": "lama"})),
        "rope": said(lambda: decoder.from_config({**config, "rope_parameters": {"rope_type": "longrope"}})),
        "fp8": said(lambda: decoder.from_config({**config, "quantization_config": {"quant_method": "fp8"}})),
        "activation": said(lambda: decoder.from_config({**config, "hidden_act": "relu2"})),
        "size": said(lambda: decoder.from_config({k: v for k, v in config.items() if k != "vocab_size"})),
        "missing": said(loaded(lambda tensors: tensors.pop(key))),
        "shape": said(loaded(lambda tensors: tensors.update({key: np.zeros((3, 64), np.float32)}))),
        "bytes": said(loaded(lambda tensors: tensors.update({"model.x": np.zeros((1024, 1024), np.int8)}))),
        "layers": said(loaded(lambda t: t.update({"model.layers.2.x.weight": np.zeros(3, np.float32)}))),
        "short": said(cut_short),
        "no weights": said(lambda: weights.load(FOLDER / "nothing", it.decoder)),
        "groups": said(lambda: weights.shapes(replace(it.decoder, hidden=96), None, "nf4")),
        "kind": said(lambda: weights.shapes(it.decoder, None, "nf3")),
        "target": said(lambda: adapters.names(it.decoder, ["q_prj"])),
        "plan": said(lambda: meshes.plan(8, replace(it.decoder, heads=3), 1)),
        "devices": said(lambda: meshes.make(meshes.Plan(16))),
        "copies": said(lambda: meshes.check(weights.shapes(odd, eight), eight)),
        "adapter": said(lambda: adapters.read(FOLDER / "phi3" / "adapter", it.decoder)),
        "no adapter": said(lambda: adapters.read(FOLDER / "nothing", it.decoder)),
    }


def names() -> dict[str, Any]:
    """Which matrices the words for targets mean; how devices are shared out."""
    one, fused = Family("llama").decoder, Family("phi3").decoder
    asked: list[str | list[str]] = ["all-linear", "attention", "qv", ["o_proj", "mlp.up_proj"]]
    plans = [meshes.plan(devices, one, rows) for devices, rows in ((1, 1), (8, 8), (8, 16), (8, 4), (4, 1), (8, 2))]
    first = adapters.fresh(one, 8, 1)["down"]
    return {
        "separate": [adapters.names(one, each) for each in asked],
        "fused": [adapters.names(fused, each) for each in asked[:3]],
        "plans": plans,
        "told": [str(plan) for plan in plans],
        "fresh": [float(np.abs(first["a"]).max() * 128**0.5), float(np.abs(first["b"]).max())],
    }


CHECKS = {
    **{"nf4": nf4, "coarse": coarse, "sharded": sharded, "packed": packed, "variants": variants, "dropout": dropout},
    "sharded nf4": lambda: sharded(kind="nf4", plans=PLANS[1:2]),
    "sharded windows": lambda: sharded("gemma2", plans=PLANS[1:2]),
    **{"splash": splash, "exported": exported, "memory": memory, "refusals": refusals, "names": names},
}
for each in sys.argv[2:]:
    began = time.process_time()
    try:
        came = CHECKS[each]() if each in CHECKS else family(each)
    except Exception:
        came = {"error": traceback.format_exc()[-3000:]}
    print(json.dumps({"check": each, "cpu_s": round(time.process_time() - began, 2), **came}), flush=True)
