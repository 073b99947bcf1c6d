"""Causal attention inside each document, by batched products: softmax(s q k') v, nothing computed across documents.

Queries, keys and values lie heads first, with the queries of one key head side by side for each token: [key heads,
tokens, queries a key head, head dimension]. So a document is a slice of all of them, its queries are one matrix a key
head, and grouped heads cost no copy. Long documents are taken in blocks of queries, each against the keys that it sees:
that is all a sliding window needs, too. Probabilities are kept for the backward pass of short documents; with p kept or
made again, and g the gradient of the output:

    dv = p' g      dp = g v'      ds = p (dp - sum(dp p))      dq = s ds k      dk = s ds' q

A processor's own fused attention is slower than products in bf16 (1.2 to 27 times on the chips measured). It takes
documents of more than `flash_from` tokens: which is faster there is measured at the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fast.rotary import Angles, turn

BLOCK = 256  # queries at a time
NEVER = 1 << 62  # no document is so long
KEEP = 512  # the longest document whose probabilities are kept: memory grows with its square


class Shape(NamedTuple):
    """Of a layer's attention. `window`: keys that a token sees, itself included; `cap`: of a soft cap on the scores."""

    heads: int
    key_heads: int
    size: int
    scale: float
    window: int | None = None
    cap: float | None = None


@dataclass
class Documents:
    """Where the documents of the batch at hand begin and end, set once a batch; and from where flash is faster."""

    bounds: Sequence[tuple[int, int]] = ()
    flash_from: int = NEVER

    def of(self, starts: Sequence[int]) -> None:
        """Take over cumulative lengths: 0, end of the first, end of the second..."""
        self.bounds = [(begin, end) for begin, end in pairwise(starts) if end > begin]


class Block(NamedTuple):
    """Queries [begin, end) of tokens against keys [seen, end)."""

    begin: int
    end: int
    seen: int


def blocks(begin: int, end: int, window: int | None) -> Iterator[Block]:
    """A document's."""
    for start in range(begin, end, BLOCK):
        yield Block(start, min(start + BLOCK, end), max(begin, start - window + 1) if window else begin)


def attend(q: Tensor, k: Tensor, v: Tensor, by: Angles | None, documents: Documents, shape: Shape) -> Tensor:
    """[tokens, heads x size] of the attention's output, from matrices [tokens, heads x size] before they are turned."""
    found: Tensor = _Attend.apply(q, k, v, by, (documents, shape))
    return found


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, by: Angles | None, where: tuple[Documents, Shape]) -> Tensor:
        documents, shape = where
        tokens = q.shape[0]
        queries, keys, values = (heads_first(each, shape) for each in (q, k, v))
        turned, turned_keys = (torch.empty(each.shape, dtype=q.dtype) for each in (queries, keys))
        for source, target in ((queries, turned), (keys, turned_keys)):
            target.copy_(source) if by is None else turn(source, by, target)
        laid = Laid(turned, turned_keys[:, :, 0], values[:, :, 0].contiguous())
        out = torch.empty_like(turned)
        kept, sums = [], []
        for begin, end in documents.bounds:
            if is_flash(end - begin, documents, shape):
                sums.append(flash(laid, out, begin, end, shape))
                continue
            for block in blocks(begin, end, shape.window):
                weights = probabilities(laid, block, shape)
                torch.bmm(weights, laid.values[:, block.seen : block.end], out=rows_of(out, block.begin, block.end))
                if end - begin <= KEEP and any(ctx.needs_input_grad[:3]):
                    kept.append(weights)
        ctx.by, ctx.shape, ctx.documents, ctx.sums = by, shape, Documents(documents.bounds, documents.flash_from), sums
        ctx.kept, ctx.out = kept, out if sums else None
        ctx.save_for_backward(*laid)
        return out.permute(1, 0, 2, 3).reshape(tokens, -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        laid, shape, documents = Laid(*ctx.saved_tensors), ctx.shape, ctx.documents
        above = heads_first(gradient, shape).contiguous()
        to = Laid(*(torch.zeros_like(each) if many(documents) else torch.empty_like(each) for each in laid))
        kept, sums = iter(ctx.kept), iter(ctx.sums)
        for begin, end in documents.bounds:
            if is_flash(end - begin, documents, shape):
                flash_back(laid, to, (above, ctx.out, next(sums)), begin, end, shape)
                continue
            for block in blocks(begin, end, shape.window):
                weights = next(kept) if end - begin <= KEEP else probabilities(laid, block, shape)
                back(laid, to, rows_of(above, block.begin, block.end), weights, block, shape)
        ctx.kept = ctx.sums = ctx.out = None
        return (*side_by_side(to, ctx.by, shape), None, None)


class Laid(NamedTuple):
    """Queries [key heads, tokens, queries a key head, size]; keys and values [key heads, tokens, size]."""

    queries: Tensor
    keys: Tensor
    values: Tensor


def heads_first(matrix: Tensor, shape: Shape) -> Tensor:
    """A view [key heads, tokens, heads a key head, size] of [tokens, heads x size]."""
    return matrix.view(matrix.shape[0], shape.key_heads, -1, shape.size).permute(1, 0, 2, 3)


def rows_of(queries: Tensor, begin: int, end: int) -> Tensor:
    """The queries of some tokens, or what lies like them, as one matrix a key head."""
    return queries[:, begin:end].flatten(1, 2)


def many(documents: Documents) -> bool:
    """Whether a document takes more than one block: gradients of its keys are sums."""
    return any(end - begin > BLOCK for begin, end in documents.bounds)


def probabilities(laid: Laid, block: Block, shape: Shape) -> Tensor:
    """[key heads, queries of the block, keys that it sees]."""
    queries = rows_of(laid.queries, block.begin, block.end)
    keys = laid.keys[:, block.seen : block.end].transpose(1, 2)
    mask = seen(block, shape, queries.dtype)
    if shape.cap is None:
        return torch.softmax(torch.baddbmm(mask, queries, keys, alpha=shape.scale), -1)
    return torch.softmax(capped(queries, keys, shape).mul_(shape.cap).add_(mask), -1)


def capped(queries: Tensor, keys: Tensor, shape: Shape) -> Tensor:
    """tanh(s q k' / cap): times the cap they are the scores."""
    assert shape.cap is not None
    return torch.bmm(queries, keys).mul_(shape.scale / shape.cap).tanh_()


def back(laid: Laid, to: Laid, above: Tensor, weights: Tensor, block: Block, shape: Shape) -> None:
    """Write a block's gradient of queries, and add those of its keys and values."""
    queries = rows_of(laid.queries, block.begin, block.end)
    keys, values = (each[:, block.seen : block.end] for each in (laid.keys, laid.values))
    to_keys, to_values = (each[:, block.seen : block.end] for each in (to.keys, to.values))
    alone = 0 if block.seen == block.begin else 1  # the first block of a document writes where nothing is yet
    score = torch._softmax_backward_data(torch.bmm(above, values.transpose(1, 2)), weights, -1, weights.dtype)
    if shape.cap is not None:
        score.mul_(capped(queries, keys.transpose(1, 2), shape).square_().neg_().add_(1))
    into = rows_of(to.queries, block.begin, block.end)
    torch.baddbmm(into, score, keys, beta=0, alpha=shape.scale, out=into)
    torch.baddbmm(to_keys, score.transpose(1, 2), queries, beta=alone, alpha=shape.scale, out=to_keys)
    torch.baddbmm(to_values, weights.transpose(1, 2), above, beta=alone, out=to_values)


def side_by_side(to: Laid, by: Angles | None, shape: Shape) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients turned back, [tokens, heads x size] each, side by side in one matrix."""
    width, narrow = shape.heads * shape.size, shape.key_heads * shape.size
    whole = torch.empty(to.keys.shape[1], width + 2 * narrow, dtype=to.keys.dtype)
    parts = whole.split((width, narrow, narrow), 1)
    for source, part in zip((to.queries, to.keys[:, :, None], to.values[:, :, None]), parts, strict=True):
        target = heads_first(part, shape)
        if by is None or part is parts[2]:
            target.copy_(source)
        else:
            turn(source, by, target, back=True)
    return parts[0], parts[1], parts[2]


_MASKS: dict[tuple[Any, ...], Tensor] = {}


def seen(block: Block, shape: Shape, kind: torch.dtype) -> Tensor:
    """0 where a query sees a key, minus infinity elsewhere: a window of a mask that is made once."""
    count, before = block.end - block.begin, block.begin - block.seen
    each = shape.heads // shape.key_heads
    room = 1 << max(before, BLOCK).bit_length()
    name = (each, room, shape.window, kind)
    if name not in _MASKS:
        query = torch.arange(BLOCK).repeat_interleave(each)[:, None]
        key = torch.arange(-room, BLOCK)[None, :]
        hidden = key > query
        if shape.window:
            hidden |= key <= query - shape.window
        _MASKS[name] = torch.zeros(hidden.shape, dtype=kind).masked_fill_(hidden, -math.inf)
    return _MASKS[name][: count * each, room - before : room + count]


def is_flash(tokens: int, documents: Documents, shape: Shape) -> bool:
    """Whether PyTorch's own attention takes a document: a long one, of which it can compute everything."""
    return tokens > documents.flash_from and shape.cap is None and (shape.window is None or tokens <= shape.window)


def _for_flash(laid: Laid, begin: int, end: int, shape: Shape) -> list[Tensor]:
    """Queries, keys and values as [1, heads, tokens, size]."""
    each = shape.heads // shape.key_heads
    queries = laid.queries[:, begin:end].permute(0, 2, 1, 3).reshape(1, shape.heads, end - begin, shape.size)
    return [queries, *(part[None, :, begin:end].repeat_interleave(each, 1) for part in (laid.keys, laid.values))]


def flash(laid: Laid, out: Tensor, begin: int, end: int, shape: Shape) -> Tensor:
    """Write a document's output by PyTorch's own attention; returns what its backward pass needs."""
    found, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        *_for_flash(laid, begin, end, shape), 0.0, True, scale=shape.scale
    )
    out[:, begin:end] = found.view(shape.key_heads, -1, end - begin, shape.size).transpose(1, 2)
    return sums  # type: ignore[no-any-return]


def flash_back(laid: Laid, to: Laid, above: tuple[Tensor, Tensor, Tensor], begin: int, end: int, shape: Shape) -> None:
    """Write a document's gradients; `above` holds the output's gradient, the output, and what the forward pass kept."""
    gradient, out = (
        each[:, begin:end].permute(0, 2, 1, 3).reshape(1, shape.heads, end - begin, shape.size) for each in above[:2]
    )
    inputs = _for_flash(laid, begin, end, shape)
    found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        gradient, *inputs, out, above[2], 0.0, True, scale=shape.scale
    )
    of_queries, of_keys, of_values = (each.view(shape.key_heads, -1, end - begin, shape.size) for each in found)
    to.queries[:, begin:end] = of_queries.transpose(1, 2)
    to.keys[:, begin:end] = of_keys.sum(1)
    to.values[:, begin:end] = of_values.sum(1)
