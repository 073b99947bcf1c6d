"""Weights, gradients and optimiser states: how many bytes each kind of parameter needs before anything is sharded."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import Options
from cloudtrain.models.adapters import adapter_parameters, adapts_experts, magnitude_parameters
from cloudtrain.models.counts import layer_parameters
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import NF4_BYTES_PER_WEIGHT, ModelSpec

# mlx-lm's default: 4 bits, and a 16-bit scale and bias per 64 weights; embeddings and head are quantised too.
MLX_BYTES_PER_WEIGHT = 0.5 + 4 / 64
# 8-bit Adam: two bytes a parameter and one float32 scale per 256 for each moment (bitsandbytes block size).
ADAM_8BIT_BYTES = 2 + 8 / 256
# bfloat16 weights with a float32 master copy and two float32 moments.
MASTER_ADAM_BYTES = 12


class Kinds(NamedTuple):
    """One figure for each kind of parameter that shards differently."""

    dense: float
    experts: float
    tables: float

    def times(self, factor: Kinds | float) -> Kinds:
        """Each kind times its factor."""
        other = factor if isinstance(factor, Kinds) else Kinds(factor, factor, factor)
        return Kinds(self.dense * other.dense, self.experts * other.experts, self.tables * other.tables)

    @property
    def sum(self) -> float:
        """All kinds together."""
        return self.dense + self.experts + self.tables


class States(NamedTuple):
    """Bytes of the stored weights (adapters included), and how many parameters are trained, by kind."""

    weights: Kinds
    trainable: Kinds
    weight_bytes: int  # of one unquantised weight
    gradient_bytes: int  # of one gradient
    optimizer_bytes: float  # of the optimiser's state of one trained parameter
    expert_adapters: bool  # every expert carries an adapter of its own


def states(spec: ModelSpec, options: Options) -> States:
    """States of a whole, unsharded model under checked `options` (estimation.md section 7, "States")."""
    weight_bytes = _weight_bytes(options)
    trainable = _trainable(spec, options)
    adapter_bytes = 2 if options.adapter_dtype == "bf16" else 4
    gradient_bytes = adapter_bytes if options.adapts else weight_bytes
    weights = _stored(spec, options, weight_bytes)
    if options.adapts:
        weights = Kinds(*(base + adapter_bytes * new for base, new in zip(weights, trainable, strict=True)))
    return States(
        weights=weights,
        trainable=trainable,
        weight_bytes=weight_bytes,
        gradient_bytes=gradient_bytes,
        optimizer_bytes=_optimizer_bytes(spec, options, gradient_bytes),
        expert_adapters=adapts_each_expert(spec.shape, options),
    )


def _weight_bytes(options: Options) -> int:
    """Bytes of one weight: adapters leave the base in bfloat16 under AMP, full training keeps it in float32."""
    if options.dtype == "fp32":
        return 4
    return 4 if options.dtype == "amp" and not options.adapts else 2


def adapts_each_expert(shape: Shape, options: Options) -> bool:
    """Whether every expert carries an adapter: where the targets reach them, and PEFT's 4-bit experts cannot."""
    bare = bool(options.experts_4bit) and options.estimator != "mlx"  # mlx-lm adapts 4-bit experts too
    return options.adapts and adapts_experts(shape, options.targets) and not bare


def _stored(spec: ModelSpec, options: Options, weight_bytes: int) -> Kinds:
    counts = spec.counts
    tables = counts.embedding + spec.shape.ngram_tables
    rest = counts.total - counts.linear - counts.experts - tables
    if options.method != "qlora":
        stored = Kinds(weight_bytes * (counts.linear + rest), weight_bytes * counts.experts, weight_bytes * tables)
    elif options.estimator == "mlx":
        quantised = MLX_BYTES_PER_WEIGHT
        stored = Kinds(
            quantised * counts.linear + weight_bytes * rest,
            (quantised if options.experts_4bit else weight_bytes) * counts.experts,
            quantised * tables,
        )
    else:
        stored = Kinds(
            NF4_BYTES_PER_WEIGHT * counts.linear + weight_bytes * rest,
            (NF4_BYTES_PER_WEIGHT if options.experts_4bit else weight_bytes) * counts.experts,
            weight_bytes * tables,
        )
    if options.embed_fp32 and options.adapts and weight_bytes == 2:  # prepare_model_for_kbit_training
        norms = spec.shape.traits.norms * spec.shape.hidden * spec.shape.layers
        stored = Kinds(stored.dense + 2 * norms, stored.experts, stored.tables + 2 * counts.embedding)
    return stored


def _trainable(spec: ModelSpec, options: Options) -> Kinds:
    shape, counts = spec.shape, spec.counts
    if options.adapts:
        dense = adapter_parameters(shape, options.rank, options.targets, experts=False)
        if options.method == "dora":
            dense += magnitude_parameters(shape, options.targets)
        every = adapter_parameters(shape, options.rank, options.targets)
        bare = adapter_parameters(shape, options.rank, options.targets, experts=False)
        return Kinds(dense, every - bare if adapts_each_expert(shape, options) else 0, 0)
    if options.method == "freeze":
        experts = shape.expert_weights * shape.experts
        return Kinds((layer_parameters(shape) - experts) * options.train_layers, experts * options.train_layers, 0)
    tables = counts.embedding + shape.ngram_tables
    return Kinds(counts.total - counts.experts - tables, counts.experts, tables)


def _optimizer_bytes(spec: ModelSpec, options: Options, gradient_bytes: int) -> float:
    moments: dict[str, float] = {
        "adamw": 2 * gradient_bytes,
        "adamw_foreach": 2 * gradient_bytes,
        "adamw8bit": ADAM_8BIT_BYTES,
        "adamw_master": MASTER_ADAM_BYTES,
        "lion": gradient_bytes,
        "sgd": 0,
        "adafactor": 8 / spec.shape.hidden,  # one float32 per row and per column of each matrix
    }
    return moments[options.optimizer]
