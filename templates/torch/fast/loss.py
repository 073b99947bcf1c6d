"""Cross entropy of the tokens that are trained on, without the table of all logits; its gradient is made on the way.

For a chunk of rows h and the head W: z = h W', p = softmax(z), loss = sum(-log p[target]); with e the target's unit
vector, dh = (p - e) W and, where the head is trained, dW = (p - e)' h. Logits come as the products give them, are
widened and softmaxed in float32, and are gone after their chunk. Those of the targets are made again in float32, a dot
product a token: rounded to bf16 they would be most of the loss's own error. A soft cap c makes z into c tanh(z / c).
The backward pass only multiplies by the gradient of the loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

CHUNK_BYTES = 48 << 20  # of a chunk's logits in float32
LEAST, MOST = 64, 512  # rows of a chunk: fewer are no matrix, more gain nothing


class Head(NamedTuple):
    """Weight [vocabulary, width] and bias, trained or not, and the cap of the logits."""

    weight: Tensor
    bias: Tensor | None = None
    cap: float | None = None


def cross_entropy(rows: Tensor, head: Head, targets: Tensor, count: Tensor | float) -> Tensor:
    """The sum over `rows` [tokens, width] of the loss against `targets`, divided by `count`; float32."""
    if rows.shape[0] == 0:
        return (rows.sum() * 0.0).float()
    found: Tensor = _CrossEntropy.apply(rows, head.weight, head.bias, targets, (head.cap, float(count)))
    return found


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, about: tuple[float | None, float]
    ) -> Tensor:
        cap, count = about
        learns, head_learns, bias_learns = ctx.needs_input_grad[:3]
        to_rows = torch.empty_like(rows) if learns else None
        to_weight = torch.zeros(weight.shape, dtype=torch.float32) if head_learns else None
        to_bias = torch.zeros(weight.shape[0], dtype=torch.float32) if bias_learns else None
        total = torch.zeros((), dtype=torch.float64)
        size = max(LEAST, min(MOST, CHUNK_BYTES // (4 * weight.shape[0])))
        size = -(-rows.shape[0] // -(-rows.shape[0] // size))  # chunks of one size
        for begin in range(0, rows.shape[0], size):
            part, wanted = rows[begin : begin + size], targets[begin : begin + size, None]
            logits = torch.nn.functional.linear(part, weight, bias).float()
            logits.scatter_(1, wanted, exact(part, weight, bias, wanted))
            squashed = None
            if cap is not None:
                squashed = logits.div_(cap).tanh_()
                logits = squashed * cap
            chances = torch.softmax(logits, -1)
            total -= logs(chances, logits, wanted).sum(dtype=torch.float64)
            if not (learns or head_learns or bias_learns):
                continue
            chances.scatter_add_(1, wanted, chances.new_full(wanted.shape, -1.0))
            if squashed is not None:
                chances.mul_(squashed.square_().neg_().add_(1))
            narrow = chances.to(rows.dtype)
            if to_rows is not None:
                torch.mm(narrow, weight, out=to_rows[begin : begin + size])
            if to_weight is not None:
                to_weight.add_(torch.mm(narrow.t(), part))
            if to_bias is not None:
                to_bias.add_(chances.sum(0))
        ctx.count, ctx.kinds = count, (weight.dtype, None if bias is None else bias.dtype)
        ctx.save_for_backward(to_rows, to_weight, to_bias)
        return (total / count).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        factor = float(gradient) / ctx.count
        to_rows, to_weight, to_bias = (None if each is None else each * factor for each in ctx.saved_tensors)
        kind, bias_kind = ctx.kinds
        return (
            to_rows,
            None if to_weight is None else to_weight.to(kind),
            None if to_bias is None else to_bias.to(bias_kind),
            None,
            None,
        )


def exact(rows: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor) -> Tensor:
    """The targets' own logits [rows, 1], in float32."""
    found = (rows.float() * weight[wanted[:, 0]].float()).sum(1, keepdim=True)
    return found if bias is None else found + bias[wanted].float()


def logs(chances: Tensor, logits: Tensor, wanted: Tensor) -> Tensor:
    """log p of the targets [rows, 1]: by p itself, and where that is too small to be a number, by the logits."""
    found = chances.gather(1, wanted).log_()
    lost = found[:, 0] < -80.0
    if bool(lost.any()):
        found[lost] = torch.log_softmax(logits[lost], -1).gather(1, wanted[lost])
    return found
