"""4-bit weights as far as memory goes: packed storage, and 16-bit copies that exist only while they are used.

No kernel is run and no value is right; the sizes and lifetimes are those of bitsandbytes' NF4 with double quantisation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

BLOCK = 64  # weights that share one scale byte
SCALES = 256  # scale bytes that share one float32
NEVER_PACKED = ("lm_head", "router.classifier")  # kept in 16 bit by transformers and by our LongCat loader
STACKS = ("gate_up_proj", "down_proj")  # how transformers 5 names the matrices of all experts of a layer


class _Product(torch.autograd.Function):
    """inputs @ weight.T; the weight is unpacked for the product and dropped, in forward and again in backward."""

    @staticmethod
    def forward(context: Any, inputs: Any, packed: Any, scales: Any, shape: tuple[int, int], bias: Any) -> Any:
        context.shape = shape
        context.save_for_backward(packed, scales)
        return functional.linear(inputs, torch.empty(shape, dtype=inputs.dtype), bias)

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        _ = context.saved_tensors  # this is what starts a checkpoint's recomputation, before anything is allocated
        return gradient @ torch.empty(context.shape, dtype=gradient.dtype), None, None, None, None


class _ExpertsProduct(torch.autograd.Function):
    """Rows sorted by expert, each times its expert's matrix, of which one at a time is unpacked.

    The loop over experts is not run: at any moment it holds one matrix next to the rows and the result.
    """

    @staticmethod
    def forward(context: Any, rows: Any, packed: Any, shape: tuple[int, int]) -> Any:
        context.shape = shape
        context.save_for_backward(packed)
        return _beside_one_matrix(rows, shape, shape[0])

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        _ = context.saved_tensors
        return _beside_one_matrix(gradient, context.shape, context.shape[1]), None, None


def _beside_one_matrix(rows: Any, shape: tuple[int, int], width: int) -> Any:
    matrix = torch.empty(shape, dtype=rows.dtype)
    result = torch.empty(rows.shape[0], width, dtype=rows.dtype)
    del matrix
    return result


class PackedLinear(nn.Linear):
    """A linear layer in 4 bit. It stays an `nn.Linear`, so that PEFT adapts it."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.shape = (linear.out_features, linear.in_features)
        numbers = linear.weight.numel()
        scales = -(-numbers // BLOCK)
        packed = torch.empty((numbers + 1) // 2, 1, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("scales", torch.empty(scales + 4 * -(-scales // SCALES), dtype=torch.uint8))
        self.bias = linear.bias

    def forward(self, inputs: Any) -> Any:
        """Compute in autocast's type, as bitsandbytes does."""
        if torch.is_autocast_enabled("cpu"):
            inputs = inputs.to(torch.get_autocast_dtype("cpu"))
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        with torch.autocast("cpu", enabled=False):
            return _Product.apply(inputs, self.weight, self.scales, self.shape, bias)


def pack_linears(model: nn.Module) -> None:
    """Replace every linear layer that 4-bit loading quantises."""
    for name, module in list(model.named_modules()):
        for child_name, child in list(module.named_children()):
            path = f"{name}.{child_name}"
            if type(child) is nn.Linear and not any(part in path for part in NEVER_PACKED):
                setattr(module, child_name, PackedLinear(child))


def pack_experts(model: nn.Module, one_at_a_time: bool) -> None:
    """Replace stacked experts by packed storage, unpacked one expert or one layer's experts at a time."""
    for module in list(model.modules()):
        shapes = {name: tuple(stack.shape) for name in STACKS if (stack := _stack(module, name)) is not None}
        for name, shape in shapes.items():
            numbers = shape[0] * shape[1] * shape[2]
            del module._parameters[name]
            size = numbers // 2 + numbers // BLOCK + 4 * numbers // (BLOCK * SCALES)
            module.register_buffer(f"{name}_packed", torch.empty(size, dtype=torch.uint8))
        if shapes:
            how = partial(_one_at_a_time, module) if one_at_a_time else partial(_whole_layer, module, module.forward)
            module.forward = partial(how, shapes)  # type: ignore[method-assign]


def _stack(module: nn.Module, name: str) -> Any:
    stack = module._parameters.get(name)
    return stack if stack is not None and stack.dim() == 3 else None


def _whole_layer(module: nn.Module, forward: Any, shapes: dict[str, tuple[int, ...]], *args: Any, **named: Any) -> Any:
    """The module's own forward over 16-bit copies of the whole stacks; autograd keeps those that backward needs."""
    for name, shape in shapes.items():
        object.__setattr__(module, name, torch.empty(shape, dtype=torch.bfloat16))
    try:
        return forward(*args, **named)
    finally:
        for name in shapes:
            object.__delattr__(module, name)


def _one_at_a_time(module: Any, shapes: dict[str, tuple[int, ...]], hidden: Any, index: Any, weights: Any) -> Any:
    """Experts as separate linear layers: gate, up and down are unpacked one after the other, expert by expert."""
    experts, width, inputs = shapes["gate_up_proj"][0], shapes["gate_up_proj"][1] // 2, shapes["gate_up_proj"][2]

    def mlp(rows: Any) -> Any:
        gate = _ExpertsProduct.apply(rows, module.gate_up_proj_packed, (width, inputs))
        up = _ExpertsProduct.apply(rows, module.gate_up_proj_packed, (width, inputs))
        return _ExpertsProduct.apply(module.act_fn(gate) * up, module.down_proj_packed, (inputs, width))

    return mix_experts(hidden, index, weights, balanced(index, experts, getattr(module, "zero_experts", 0)), mlp)


def balanced(index: Any, experts: int, zero_experts: int) -> int:
    """How many of all picks fall on a real expert when the router spreads them evenly."""
    return index.shape[0] * index.shape[1] * experts // (experts + zero_experts)


def mix_experts(hidden: Any, index: Any, weights: Any, real_picks: int, mlp: Any) -> Any:
    """The weighted sum of the picked experts' outputs; picks beyond `real_picks` are identity experts.

    Shapes do not depend on values, which fake tensors do not have.
    """
    top_k = index.shape[1]
    _, order = torch.sort(index.reshape(-1))
    real, identity = order[:real_picks], order[real_picks:]
    each = weights.reshape(-1)

    def weighted(picks: Any, rows: Any) -> Any:  # nothing of it keeps a name: what autograd does not need must die
        return (rows * each[picks].unsqueeze(-1)).to(hidden.dtype)

    mixed = torch.zeros_like(hidden)
    mixed = mixed.index_add(0, real // top_k, weighted(real, mlp(hidden[real // top_k])))
    if identity.numel():
        mixed = mixed.index_add(0, identity // top_k, weighted(identity, hidden[identity // top_k]))
    return mixed
