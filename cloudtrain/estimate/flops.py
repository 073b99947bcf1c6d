"""Floating-point operations per trained token: those executed, and those that published efficiency counts."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import ADAPTER_METHODS, Options, checked
from cloudtrain.models.adapters import adapter_parameters
from cloudtrain.models.counts import layer_linear
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec


class Flops(NamedTuple):
    """Floating-point operations per token: `convention` is what published MFU counts, `executed` what really runs."""

    convention: float
    executed: float


def attention_flops(shape: Shape, sequence_length: int) -> float:
    """Causal attention in the convention: 6 x layers x length x query width, half of it on keys and half on values.

    Layers with a sliding window count the window where it is shorter than the sequence (estimation.md 4.1; MaxText
    since 2025-07). Not counted here: the causal half that a kernel without block skipping computes for nothing.
    """
    width = shape.heads * (shape.head_dim + shape.value_head) / 2
    blocks_per_layer = shape.traits.blocks_per_layer
    windowed = shape.sliding_layers * min(sequence_length, shape.sliding_window or sequence_length)
    everything = (shape.layers - shape.sliding_layers) * sequence_length
    return 6.0 * width * blocks_per_layer * (windowed + everything)


def flops_per_token(spec: ModelSpec, options: Options) -> Flops:
    """Operations per token of one training step (estimation.md 4.1). Raises UsageError for options out of range.

    N multiplies for every token: all active parameters, the looked-up embedding apart, the head included. Full
    training counts 6 N, frozen weights 4 N; freezing all but the last k layers saves the gradients below them.
    """
    spec, options = checked(spec, options)
    shape, active = spec.shape, spec.matmul_params_per_token
    attention = attention_flops(shape, options.sequence_length)
    adapters = adapter_parameters(shape, options.rank, options.targets, experts=False) if options.adapts else 0
    convention = _weights(spec, options.method, options.train_layers) * active + attention
    recomputed = 0.0
    if options.checkpointing:
        recomputed = 2.0 * (active - shape.vocab * shape.hidden) + attention / 3
    return Flops(convention, convention + recomputed + 6.0 * adapters)


def _weights(spec: ModelSpec, method: str, train_layers: int) -> float:
    """Operations per active parameter."""
    if method in ADAPTER_METHODS:
        return 4.0
    if method != "freeze":
        return 6.0
    shape = spec.shape
    head = shape.vocab * shape.hidden
    layer = layer_linear(shape) + shape.mean_experts * shape.expert_weights
    return min(6.0, 2.0 + (4.0 * train_layers * layer + 2.0 * head) / spec.matmul_params_per_token)
