"""How many parameters a shape has, of which kind: exact, from the shapes, without building the model."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.models.shape import Shape, attention_linears, dense_mlps, mlp_linears

if TYPE_CHECKING:
    from cloudtrain.models.counted import Counted


class Counts(NamedTuple):
    """Parameters by kind. `active_*`: what one token passes, looked-up embeddings apart, the head included.

    `linear` are the dense matrices that 4-bit loading quantises: attention and MLPs, not head, router or experts.
    `largest` is the largest single tensor, experts of a layer stacked as transformers 5 stores them.
    """

    total: int
    active_min: int
    active_mean: int
    active_max: int
    experts: int
    embedding: int
    linear: int
    router: int
    norms: int
    largest: int


@lru_cache(maxsize=512)
def counts(shape: Shape) -> Counts:
    """Counts of a whole model. The multi-token-prediction module and router-bias buffers are not counted."""
    if shape.counted is not None:
        return _as_counted(shape, shape.counted)
    experts = shape.expert_weights * shape.experts * shape.moe_layers
    linear = _linear(shape)
    table = shape.vocab * shape.hidden
    embedding = table if shape.tied else 2 * table
    router = shape.hidden * (shape.experts + shape.zero_experts) * shape.moe_layers
    norms = _norms(shape)
    ngram = shape.ngram_tables + shape.ngram_projections
    total = linear + experts + embedding + router + norms + _biases(shape) + ngram
    always = total - experts - (0 if shape.tied else table) - ngram
    one_expert_everywhere = 3 * shape.hidden * shape.expert_intermediate * shape.moe_layers  # biases only add
    return Counts(
        total=total,
        active_min=always + (0 if shape.zero_experts else shape.top_k * one_expert_everywhere),
        active_mean=always + round(shape.mean_experts * one_expert_everywhere),
        active_max=always + shape.top_k * one_expert_everywhere,
        experts=experts,
        embedding=embedding,
        linear=linear,
        router=router,
        norms=norms,
        largest=max(
            table, shape.hidden * shape.intermediate, 2 * shape.hidden * shape.expert_intermediate * shape.experts
        ),
    )


def _as_counted(shape: Shape, found: Counted) -> Counts:
    """Counts of an architecture that was counted as a whole; every token passes as many parameters."""
    inside = found.total - found.embedding - found.linear - found.experts - found.router
    return Counts(
        total=found.total,
        active_min=found.active,
        active_mean=found.active,
        active_max=found.active,
        experts=found.experts,
        embedding=found.embedding,
        linear=found.linear,
        router=found.router,
        norms=min(inside, _norms(shape)),
        largest=found.largest,
    )


def layer_parameters(shape: Shape) -> int:
    """Every parameter of one usual decoder layer, experts and router included; head and embeddings apart."""
    if shape.counted is not None:
        return (shape.counted.total - shape.counted.embedding) // shape.layers
    one = shape.with_layers(1)
    small = _norms(one) - shape.hidden + _biases(one) + shape.hidden * (shape.experts + shape.zero_experts)
    return layer_linear(shape) + shape.expert_weights * shape.experts + small


def layer_linear(shape: Shape) -> int:
    """Parameters of the dense matrices of one (usual) layer."""
    if shape.counted is not None:
        return shape.counted.linear // shape.layers
    attention = sum(linear.weights for linear in attention_linears(shape)) * shape.traits.blocks_per_layer
    width = shape.shared_width if shape.experts and shape.traits.blocks_per_layer == 1 else shape.intermediate
    mlp = sum(linear.weights for linear in mlp_linears(shape, width)) * shape.traits.blocks_per_layer
    return attention + mlp


def _linear(shape: Shape) -> int:
    attention = sum(linear.weights for linear in attention_linears(shape)) * shape.attention_blocks
    mlps = (sum(linear.weights for linear in mlp_linears(shape, width)) * count for width, count in dense_mlps(shape))
    return attention + sum(mlps)


def _norms(shape: Shape) -> int:
    heads = {"none": 0, "head": 2 * shape.head_dim, "full": shape.query_width + shape.key_width}
    per_block = heads[shape.qk_norm] + shape.q_rank + shape.kv_rank
    return shape.traits.norms * shape.hidden * shape.layers + shape.hidden + per_block * shape.attention_blocks


def _biases(shape: Shape) -> int:
    traits = shape.traits
    attention = sum(_bias_widths(shape)[role] for role in "qkvo" if role in shape.attention_bias.replace("none", ""))
    mlp = (
        sum((2 * width + shape.hidden) * count for width, count in dense_mlps(shape) if width) if shape.mlp_bias else 0
    )
    per_expert_layer = shape.hidden * traits.shared_gate + shape.experts * (traits.router_bias or traits.expert_bias)
    sinks = shape.heads * shape.attention_blocks if traits.expert_bias else 0
    head = shape.vocab if traits.head_bias and shape.mlp_bias else 0
    return attention * shape.attention_blocks + mlp + per_expert_layer * shape.moe_layers + sinks + head


def _bias_widths(shape: Shape) -> dict[str, int]:
    """Numbers in the bias of each projection; in MLA the matrices that lead down have one, and the output."""
    if shape.traits.mla:
        return {"q": shape.q_rank, "k": shape.kv_rank + shape.qk_rope, "v": 0, "o": shape.hidden}
    return {"q": shape.query_width, "k": shape.key_width, "v": shape.key_width, "o": shape.hidden}
