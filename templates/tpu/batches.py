"""Rows as arrays of one fixed shape, so that a step is compiled once: documents side by side, each a segment.

The order of an epoch is that of PyTorch's sampler for the same seed: a run that goes on with the torch trainer, or
comes from it, sees every row once an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from model import Batch
from packing import Rows
from tokens import IGNORED

BLOCK = 64  # rows are as long as the longest needs, rounded up to so many positions
TPU_BLOCKS = (128, 512)  # there the attention kernel wants multiples: of the larger one above it


def row_length(rows: Sequence[Rows], blocks: tuple[int, ...] = (BLOCK,)) -> int:
    """Positions of a row that the longest of all fits in."""
    longest = max(sum(len(it.documents[index].ids) for index in group) for it in rows for group in it.groups)
    block = max([size for size in blocks if size <= longest], default=min(blocks))
    return math.ceil(longest / block) * block


class Batches:
    """The steps of a run: step `at` has always the same rows, whatever was made before it in this process."""

    def __init__(self, rows: Rows, length: int, micro_batch: int, grad_accum: int, seed: int) -> None:
        self._rows, self._length, self._seed = rows, length, seed
        self._shape = grad_accum, micro_batch
        self._epoch, self._order = -1, np.arange(0)

    def step(self, at: int) -> Batch:
        """Arrays (grad_accum, micro_batch, length) of optimizer step `at`, the first being 0.

        The last step of an epoch may have fewer rows: then empty ones fill it up.
        """
        size = self._shape[0] * self._shape[1]
        epoch, within = divmod(at, math.ceil(len(self._rows.groups) / size))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, permutation(len(self._rows.groups), self._seed + epoch)
        chosen = self._order[within * size : (within + 1) * size]
        arrays = packed(self._rows, chosen.tolist(), size, self._length)
        return Batch(*(array.reshape(*self._shape, self._length) for array in arrays))


def in_order(rows: Rows, length: int, micro_batch: int) -> Iterator[Batch]:
    """All rows once, in their order, as arrays (micro_batch, length)."""
    for begin in range(0, len(rows.groups), micro_batch):
        chosen = range(begin, min(begin + micro_batch, len(rows.groups)))
        yield packed(rows, chosen, micro_batch, length)


def packed(rows: Rows, chosen: Sequence[int], count: int, length: int) -> Batch:
    """The chosen rows, then empty ones up to `count`: int32 arrays (count, length).

    Labels are those of the next token in the same document. Segments count from 1; 0 is what holds nothing.
    """
    tokens, positions, segments = (np.zeros((count, length), np.int32) for _ in range(3))
    labels = np.full((count, length), IGNORED, np.int32)
    for at, row in enumerate(chosen):
        begin = 0
        for number, index in enumerate(rows.groups[row], 1):
            document = rows.documents[index]
            end = begin + len(document.ids)
            tokens[at, begin:end] = document.ids
            labels[at, begin : end - 1] = document.labels[1:]
            positions[at, begin:end] = np.arange(end - begin)
            segments[at, begin:end] = number
            begin = end
    return Batch(tokens, labels, positions, segments)


def permutation(count: int, seed: int) -> np.ndarray:
    """PyTorch's `randperm(count)` for a generator with that seed: its Mersenne Twister, its way to shuffle."""
    draws = np.random.RandomState(seed % 2**32).randint(0, 2**32, max(count - 1, 0), np.uint32)
    order = np.arange(count)
    for at, draw in enumerate(draws.tolist()):
        other = at + draw % (count - at)
        order[at], order[other] = order[other], order[at]
    return order
