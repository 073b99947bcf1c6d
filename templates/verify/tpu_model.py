"""A dense decoder and one step of training it, in JAX, as arguments without memory: what the TPU compiler is given.

Layers run in a scan over stacked weights and are recomputed in backward, attention is the flash kernel of Pallas, and
weights and states are donated, as in the JAX trainers for TPU. Several devices share weights, gradients and states
(FSDP); adapters lie on every one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import flash_attention as flash
from jax.sharding import Mesh, NamedSharding, PartitionSpec

GROUP = 64  # int4 weights that share one bfloat16 scale, as Qwix has them
BLOCKS = (512, 256, 128)  # rows of a tile of the flash kernel, the widest that divides the sequence
LOSS_TILES = 8
COMPUTE = jnp.bfloat16
AXIS = "devices"


class ShapeError(Exception):
    """A message about a size that the step cannot have."""


class Step(NamedTuple):
    """What the functions below need to know: sizes of the model, options, and the devices."""

    model: dict[str, Any]
    options: dict[str, Any]
    mesh: Mesh
    block: int

    @property
    def spread(self) -> int:
        """Number of devices."""
        return int(self.mesh.size)

    def argument(self, shape: tuple[int, ...], dtype: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
        """A shape in place of an array on the devices."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self.mesh, spec))

    def sharded(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """An array cut along its longest axis that divides; the first axis of a stack counts layers and stays whole."""
        first = 0 if len(shape) == 2 else 1
        axes = [axis for axis in range(first, len(shape)) if shape[axis] % self.spread == 0]
        if self.spread == 1 or not axes:
            return self.argument(shape, dtype, PartitionSpec())
        cut = max(axes, key=lambda axis: shape[axis])
        return self.argument(
            shape, dtype, PartitionSpec(*(AXIS if axis == cut else None for axis in range(len(shape))))
        )

    def whole(self, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        """An array that every device has."""
        return self.argument(shape, dtype, PartitionSpec())


def lowered_step(model: dict[str, Any], options: dict[str, Any], devices: Any) -> Any:
    """One optimiser step, lowered and ready to compile. Raises ShapeError."""
    mesh = Mesh(np.array(devices), (AXIS,))
    step = Step(model, options, mesh, _block(options))
    weights, adapters = _weights(step), _adapters(step)
    trained, frozen = (adapters, weights) if adapters else (weights, {})
    batch = -(-options["batch"] // step.spread) * step.spread
    spec = PartitionSpec(AXIS) if step.spread > 1 else PartitionSpec()
    tokens = step.argument((batch, options["sequence_length"]), jnp.int32, spec)
    moments = {}
    if options["optimizer"] == "adamw":
        moments = jax.tree.map(lambda it: jax.ShapeDtypeStruct(it.shape, it.dtype, sharding=it.sharding), trained)
    train = jax.jit(_training(step), donate_argnums=(0, 1, 2))
    return train.lower(trained, moments, moments, frozen, tokens)


def _block(options: dict[str, Any]) -> int:
    length = options["sequence_length"]
    if options["attention"] == "eager" or length < BLOCKS[-1]:
        return length
    for block in BLOCKS:
        if length % block == 0:
            return block
    raise ShapeError(f"the flash kernel takes sequences of a multiple of {BLOCKS[-1]} tokens, not {length}")


def _matrices(model: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the matrices of one layer."""
    hidden, wide = model["hidden"], model["intermediate"]
    query, key = model["heads"] * model["head_dim"], model["kv_heads"] * model["head_dim"]
    return {
        "q": (hidden, query),
        "k": (hidden, key),
        "v": (hidden, key),
        "o": (query, hidden),
        "gate": (hidden, wide),
        "up": (hidden, wide),
        "down": (wide, hidden),
    }


def _weights(step: Step) -> dict[str, Any]:
    model, options = step.model, step.options
    layers, hidden = model["layers"], model["hidden"]
    dtype = jnp.float32 if options["dtype"] == "amp" and not _adapts(options) else jnp.bfloat16
    stack: dict[str, Any] = {}
    for name, (inputs, outputs) in _matrices(model).items():
        if options["method"] != "qlora":
            stack[name] = step.sharded((layers, inputs, outputs), dtype)
            continue
        if inputs % GROUP:
            raise ShapeError(f"int4 weights come in groups of {GROUP}, which do not divide {inputs}")
        packed = step.sharded((layers, inputs, outputs), jnp.int4)
        stack[name] = {"packed": packed, "scales": step.sharded((layers, inputs // GROUP, outputs), jnp.bfloat16)}
    vectors = {"attention_norm": hidden, "mlp_norm": hidden}
    if model["post_norms"]:
        vectors |= {"after_attention_norm": hidden, "after_mlp_norm": hidden}
    if model["qk_norm"]:
        vectors |= {"q_norm": model["head_dim"], "k_norm": model["head_dim"]}
    for name in model["biases"]:
        vectors[f"{name}_bias"] = _matrices(model)[name][1]
    stack |= {name: step.whole((layers, width), dtype) for name, width in vectors.items()}
    tables = {"embedding": step.sharded((model["vocab"], hidden), dtype), "norm": step.whole((hidden,), dtype)}
    if not model["tied"]:
        tables["head"] = step.sharded((hidden, model["vocab"]), dtype)
    return {"layers": stack, "tables": tables}


def _adapts(options: dict[str, Any]) -> bool:
    return options["method"] in ("lora", "qlora")


def _adapters(step: Step) -> dict[str, Any]:
    if not _adapts(step.options):
        return {}
    rank, layers = step.options["rank"], step.model["layers"]
    dtype = jnp.bfloat16 if step.options["adapter_dtype"] == "bf16" else jnp.float32
    matrices = _matrices(step.model)
    return {
        name: {
            "down": step.whole((layers, matrices[name][0], rank), dtype),
            "up": step.whole((layers, rank, matrices[name][1]), dtype),
        }
        for name in step.options["adapted"]
    }


def _training(step: Step) -> Any:
    """The function of one step: (trained, first moments, second moments, frozen, tokens) -> the same and the loss."""

    def train(trained: Any, first: Any, second: Any, frozen: Any, tokens: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda it: _loss(step, it, frozen, tokens))(trained)
        if step.options["optimizer"] == "sgd":
            trained = jax.tree.map(lambda p, g: (p - 1e-5 * g.astype(p.dtype)).astype(p.dtype), trained, gradients)
            return trained, first, second, loss
        first = jax.tree.map(lambda m, g: (0.9 * m + 0.1 * g.astype(m.dtype)).astype(m.dtype), first, gradients)
        second = jax.tree.map(
            lambda v, g: (0.95 * v + 0.05 * (g * g).astype(v.dtype)).astype(v.dtype), second, gradients
        )
        trained = jax.tree.map(_adamw, trained, first, second)
        return trained, first, second, loss

    return train


def _adamw(parameter: Any, first: Any, second: Any) -> Any:
    root = jnp.sqrt(second).astype(parameter.dtype)
    return (parameter - 1e-5 * first.astype(parameter.dtype) / (root + 1e-8)).astype(parameter.dtype)


def _loss(step: Step, trained: Any, frozen: Any, tokens: Any) -> Any:
    weights, adapters = (frozen, trained) if frozen else (trained, None)
    tables = weights["tables"]
    hidden = _by_batch(step, tables["embedding"].astype(COMPUTE)[tokens])

    def body(hidden: Any, layer: Any) -> Any:
        return _layer(step, _by_batch(step, hidden), *layer), None

    if step.options["checkpointing"]:
        body = jax.checkpoint(body, policy=jax.checkpoint_policies.nothing_saveable)
    hidden, _ = jax.lax.scan(body, hidden, (weights["layers"], adapters))
    hidden = _normed(hidden, tables["norm"])
    head = tables["embedding"].T if step.model["tied"] else tables["head"]

    def entropy(rows: Any, labels: Any) -> Any:
        logits = (rows @ head.astype(COMPUTE)).astype(jnp.float32)
        return (jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]).sum()

    if step.options["loss"] == "hf":
        labels = tokens[:, 1:]
        return entropy(hidden[:, :-1], labels) / labels.size
    return _in_tiles(entropy, hidden, tokens)


def _in_tiles(entropy: Any, hidden: Any, tokens: Any) -> Any:
    """Cross-entropy tile by tile, so that only a share of the logits exists at a time."""
    batch, length, width = hidden.shape
    if length % LOSS_TILES:
        raise ShapeError(f"a chunked loss takes sequences of a multiple of {LOSS_TILES} tokens, not {length}")
    rows = hidden.reshape(batch, LOSS_TILES, length // LOSS_TILES, width).swapaxes(0, 1)
    labels = jnp.roll(tokens, -1, 1).reshape(batch, LOSS_TILES, -1).swapaxes(0, 1)
    tile = jax.checkpoint(entropy)
    total, _ = jax.lax.scan(lambda sum_, it: (sum_ + tile(*it), None), jnp.float32(0), (rows, labels))
    return total / tokens.size


def _by_batch(step: Step, hidden: Any) -> Any:
    """Keep the batch cut over the devices."""
    if step.spread == 1:
        return hidden
    return jax.lax.with_sharding_constraint(hidden, NamedSharding(step.mesh, PartitionSpec(AXIS, None, None)))


def _layer(step: Step, hidden: Any, weights: Any, adapters: Any) -> Any:
    model = step.model

    def linear(rows: Any, name: str) -> Any:
        result = rows @ _unpacked(weights[name])
        if adapters and name in adapters:
            pair = adapters[name]
            result = result + ((rows @ pair["down"].astype(COMPUTE)) @ pair["up"].astype(COMPUTE)) * 2.0
        return result + weights[f"{name}_bias"].astype(COMPUTE) if f"{name}_bias" in weights else result

    def heads(rows: Any, name: str, count: int) -> Any:
        split = linear(rows, name).reshape(*rows.shape[:2], count, model["head_dim"])
        if f"{name}_norm" in weights:
            split = _normed(split, weights[f"{name}_norm"])
        return split.transpose(0, 2, 1, 3)

    rows = _normed(hidden, weights["attention_norm"])
    query, key, value = (heads(rows, n, model["heads" if n == "q" else "kv_heads"]) for n in ("q", "k", "v"))
    mixed = _attention(step, _rotated(query), _rotated(key), value)
    mixed = linear(mixed.transpose(0, 2, 1, 3).reshape(*rows.shape[:2], -1), "o")
    hidden = hidden + (_normed(mixed, weights["after_attention_norm"]) if model["post_norms"] else mixed)
    rows = _normed(hidden, weights["mlp_norm"])
    curve = jax.nn.gelu if model["activation"] == "gelu" else jax.nn.silu
    mixed = linear(curve(linear(rows, "gate")) * linear(rows, "up"), "down")
    return hidden + (_normed(mixed, weights["after_mlp_norm"]) if model["post_norms"] else mixed)


def _unpacked(weight: Any) -> Any:
    if not isinstance(weight, dict):
        return weight.astype(COMPUTE)
    inputs, outputs = weight["packed"].shape
    grouped = weight["packed"].reshape(inputs // GROUP, GROUP, outputs).astype(COMPUTE)
    return (grouped * weight["scales"][:, None, :].astype(COMPUTE)).reshape(inputs, outputs)


def _normed(rows: Any, weight: Any) -> Any:
    wide = rows.astype(jnp.float32)
    scale = jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-5)
    return (wide * scale).astype(rows.dtype) * weight.astype(rows.dtype)


def _rotated(rows: Any) -> Any:
    """Rotary position embedding."""
    length, width = rows.shape[2:]
    angles = jnp.arange(length)[:, None] / (5e5 ** (jnp.arange(0, width, 2) / width))[None]
    cosine, sine = jnp.cos(angles).astype(rows.dtype), jnp.sin(angles).astype(rows.dtype)
    left, right = jnp.split(rows, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], -1)


def _attention(step: Step, query: Any, key: Any, value: Any) -> Any:
    if step.options["attention"] == "eager":
        swapped = (it.transpose(0, 2, 1, 3) for it in (query, key, value))
        return jax.nn.dot_product_attention(*swapped, is_causal=True).transpose(0, 2, 1, 3)
    repeats = query.shape[1] // key.shape[1]
    key, value = jnp.repeat(key, repeats, axis=1), jnp.repeat(value, repeats, axis=1)
    names = [name for name in flash.BlockSizes.__dataclass_fields__ if name != "block_b"]
    sizes = flash.BlockSizes(block_b=1, **dict.fromkeys(names, step.block))
    scale = query.shape[-1] ** -0.5

    def kernel(query: Any, key: Any, value: Any) -> Any:
        return flash.flash_attention(query, key, value, causal=True, sm_scale=scale, block_sizes=sizes)

    if step.spread > 1:
        cut = PartitionSpec(AXIS)
        kernel = jax.shard_map(kernel, mesh=step.mesh, in_specs=(cut,) * 3, out_specs=cut, check_vma=False)
    return kernel(query, key, value)
