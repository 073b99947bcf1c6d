"""From which length on PyTorch's fused attention is faster than batched products here: a document of each, timed once.

Both grow with the square of the length, so one length tells. It has to win clearly: a resumed run, which measures anew,
would else be another one in its last bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from fast.attention import KEEP, NEVER, Documents, Shape, attend

PROBE = 1024  # tokens of the longest document that is tried
CLEARLY = 1.25


def flash_from(shape: Shape, kind: torch.dtype, longest: int, clock: Callable[[], float] = time.perf_counter) -> int:
    """Documents of more tokens go to PyTorch; NEVER, where they would not be faster or none is so long."""
    if longest <= KEEP or shape.cap is not None:
        return NEVER
    tokens = min(longest, PROBE)
    times = {limit: _seconds(shape._replace(window=None), kind, tokens, limit, clock) for limit in (NEVER, 0)}
    return KEEP if CLEARLY * times[0] < times[NEVER] else NEVER


def _seconds(shape: Shape, kind: torch.dtype, tokens: int, limit: int, clock: Callable[[], float]) -> float:
    """Of forward and backward together, the better of two. Draws no random number: seeds stay as they are."""
    inputs: list[Any] = [
        torch.linspace(-1, 1, tokens * heads * shape.size).view(tokens, -1).to(kind).requires_grad_()
        for heads in (shape.heads, shape.key_heads, shape.key_heads)
    ]
    documents = Documents(((0, tokens),), limit)
    found = []
    for _ in range(2):
        began = clock()
        attend(*inputs, None, documents, shape).sum().backward()
        found.append(clock() - began)
    return min(found)
