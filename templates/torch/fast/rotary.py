"""Rotary positions: the two halves (a, b) of the turned dimensions become (a cos - b sin, b cos + a sin).

The turn back, which the gradient takes, is the same with -sin. Where only a part of a head turns, the rest is copied.
Written where the caller says, in its layout: there is no pass that only moves.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Angles(NamedTuple):
    """Cosines and sines [tokens, turned dimensions / 2]."""

    cos: Tensor
    sin: Tensor


def angles(cos: Tensor, sin: Tensor) -> Angles:
    """From a model's own tables [1, tokens, turned dimensions], whose halves are equal."""
    half = cos.shape[-1] // 2
    return Angles(cos[0, :, :half], sin[0, :, :half])


def turn(heads: Tensor, by: Angles, out: Tensor, back: bool = False) -> None:
    """Write `heads` [.., tokens, any, head dimension], turned or turned back, into `out`."""
    half = by.cos.shape[-1]
    cos, sin = by.cos[:, None, :], by.sin[:, None, :]
    first, second = heads[..., :half], heads[..., half : 2 * half]
    to_first, to_second = out[..., :half], out[..., half : 2 * half]
    sign = 1.0 if back else -1.0
    torch.mul(first, cos, out=to_first)
    to_first.addcmul_(second, sin, value=sign)
    torch.mul(second, cos, out=to_second)
    to_second.addcmul_(first, sin, value=-sign)
    if out.shape[-1] > 2 * half:
        out[..., 2 * half :].copy_(heads[..., 2 * half :])
