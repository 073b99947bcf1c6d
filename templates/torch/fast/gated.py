"""The middle of a gated feed-forward layer: a(gate) up, with a = SiLU (SwiGLU) or GELU by tanh (GeGLU).

Kept are gate and up, which the products before it have made; a(gate) is made again in the backward pass. The two
gradients are written side by side, so that the products before it take them as one matrix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_BACKWARD: dict[str, Any] = {
    "silu": lambda gradient, gate, out: torch.ops.aten.silu_backward.grad_input(gradient, gate, grad_input=out),
    "gelu": lambda gradient, gate, out: torch.ops.aten.gelu_backward.grad_input(
        gradient, gate, approximate="tanh", grad_input=out
    ),
}


def activation(module: Any) -> str | None:
    """Which of the two a model's activation is; None for any other."""
    kind = type(module).__name__
    if kind in ("SiLU", "SiLUActivation"):
        return "silu"
    return "gelu" if kind == "GELUTanh" else None


def gated(gate: Tensor, up: Tensor, kind: str) -> Tensor:
    """a(gate) up, [tokens, width]."""
    found: Tensor = _Gated.apply(gate, up, kind)
    return found


def product(gate: Tensor, up: Tensor, kind: str) -> Tensor:
    """a(gate) up, as a number: nothing is kept."""
    return _active(gate, kind).mul_(up)


def gradients(gradient: Tensor, gate: Tensor, up: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Of gate and up, side by side in one matrix."""
    both = gradient.new_empty(*gate.shape[:-1], gate.shape[-1] + up.shape[-1])
    to_gate, to_up = both[..., : gate.shape[-1]], both[..., gate.shape[-1] :]
    torch.mul(_active(gate, kind), gradient, out=to_up)
    _BACKWARD[kind](gradient * up, gate, to_gate)
    return to_gate, to_up


def _active(gate: Tensor, kind: str) -> Tensor:
    return torch.nn.functional.silu(gate) if kind == "silu" else torch.nn.functional.gelu(gate, approximate="tanh")


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, kind: str) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.kind = kind
        return product(gate, up, kind)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        gate, up = ctx.saved_tensors
        return (*gradients(gradient, gate, up, ctx.kind), None)
