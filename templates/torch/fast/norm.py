"""RMSNorm in one pass each way: y = x r (w + c), r = 1 / sqrt(mean(x x) + e); c is 1 in Gemma, else 0.

Computed in float32 and rounded once. Kept are x and r, a number a row; with n = x r and h = g (w + c):

    dx = r (h - n mean(h n))      dw = sum over rows of g n, only where w is trained
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rms_norm(rows: Tensor, weight: Tensor, epsilon: float, added: float = 0.0) -> Tensor:
    """The normed rows, over the last dimension, in their own type."""
    found: Tensor = _RmsNorm.apply(rows, weight, epsilon, added)
    return found


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, epsilon: float, added: float) -> Tensor:
        wide = rows.to(torch.float32, copy=True)
        rate = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(epsilon))
        ctx.save_for_backward(rows, weight, rate)
        ctx.added = added
        return wide.mul_(rate).mul_(_factor(weight, added)).to(rows.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, weight, rate = ctx.saved_tensors
        normed = rows.to(torch.float32, copy=True).mul_(rate)
        wide = gradient.to(torch.float32, copy=True)
        learnt = None
        if ctx.needs_input_grad[1]:
            learnt = (wide * normed).sum(tuple(range(rows.dim() - 1))).to(weight.dtype)
        if not ctx.needs_input_grad[0]:
            return None, learnt, None, None
        wide.mul_(_factor(weight, ctx.added))
        shared = (wide * normed).mean(-1, keepdim=True)
        return wide.sub_(normed.mul_(shared)).mul_(rate).to(rows.dtype), learnt, None, None


def _factor(weight: Tensor, added: float) -> Tensor:
    wide = weight.to(torch.float32)
    return wide + added if added else wide
