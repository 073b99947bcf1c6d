"""How many parameters low-rank adapters add, for each choice of target matrices, as PEFT 0.21 really places them."""

from __future__ import annotations

from typing import Literal

from cloudtrain.models.shape import Linear, Shape, attention_linears, dense_mlps, mlp_linears

Targets = Literal["qv", "attention", "all-linear"]
_COUNTED: dict[Targets, int] = {"qv": 0, "attention": 1, "all-linear": 2}


def adapted_attention(shape: Shape, targets: Targets) -> tuple[Linear, ...]:
    """The matrices of one attention block that get an adapter.

    `qv` means queries and values; where these do not exist on their own it means the fused matrix, and all of the
    attention in MLA models, as LoRA recipes for them do.
    """
    linears = attention_linears(shape)
    if targets != "qv" or shape.traits.mla:
        return linears
    return tuple(linear for linear in linears if linear.role in ("q", "v", "qkv"))


def adapted_mlps(shape: Shape, targets: Targets) -> tuple[tuple[int, int], ...]:
    """`(width, how many)` of the MLPs whose matrices get an adapter.

    PEFT 0.21's `all-linear` skips the dense and shared MLPs of every mixture of experts and adapts router and experts
    instead (seen by running it on each family of the registry).
    """
    return dense_mlps(shape) if targets == "all-linear" and not shape.experts else ()


def adapts_experts(shape: Shape, targets: Targets) -> bool:
    """Whether PEFT puts an adapter on every expert: it does for stacked expert matrices, not for gpt-oss."""
    if shape.counted is not None:
        return False
    return bool(shape.experts) and targets == "all-linear" and not shape.traits.expert_bias


def adapter_parameters(shape: Shape, rank: int, targets: Targets, *, experts: bool = True) -> int:
    """Parameters of all adapters: rank x (inputs + outputs) of each adapted matrix.

    `experts=False` leaves out the adapters of the experts (4-bit expert storage cannot carry them). The stacked gate
    and up matrices of an expert share one pair of twice the rank. Of an architecture that is counted as a whole no
    expert is adapted.
    """
    if shape.counted is not None:
        return rank * shape.counted.adapted[_COUNTED[targets]]
    total = sum(linear.inputs + linear.outputs for linear in adapted_attention(shape, targets)) * shape.attention_blocks
    for width, count in adapted_mlps(shape, targets):
        total += sum(linear.inputs + linear.outputs for linear in mlp_linears(shape, width)) * count
    if adapts_experts(shape, targets):
        total += (shape.hidden + shape.experts + shape.zero_experts) * shape.moe_layers  # the router
        if experts:
            width = shape.expert_intermediate
            one = 2 * (shape.hidden + 2 * width) + (width + shape.hidden)
            total += one * shape.experts * shape.moe_layers
    return rank * total


def magnitude_parameters(shape: Shape, targets: Targets) -> int:
    """What DoRA adds: one number per output of every adapted matrix, experts apart."""
    if shape.counted is not None:
        return shape.counted.adapted[_COUNTED[targets]] // 2
    total = sum(linear.outputs for linear in adapted_attention(shape, targets)) * shape.attention_blocks
    for width, count in adapted_mlps(shape, targets):
        total += sum(linear.outputs for linear in mlp_linears(shape, width)) * count
    return total
