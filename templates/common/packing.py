"""Which documents share a row: best fit decreasing, documents whole, so that no row is longer than the capacity."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any, NamedTuple


class Rows(NamedTuple):
    """Documents (`tokens.Document`) and which of them share a row, by their indexes."""

    documents: Sequence[Any]
    groups: list[list[int]]


def in_rows(documents: Sequence[Any], capacity: int, packing: bool) -> Rows:
    """The documents packed whole into rows of at most `capacity` tokens, or one a row."""
    lengths = [len(document.ids) for document in documents]
    return Rows(documents, pack(lengths, capacity) if packing else [[index] for index in range(len(documents))])


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indexes of `lengths` in groups whose sum is at most `capacity` (each length is at most that).

    Longest first, each into the fullest group that still has room: the rule of TRL's `bfd`, over all rows at once.
    """
    groups: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free places, group), sorted
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        length = lengths[index]
        place = bisect_left(room, (length, -1))
        if place < len(room):
            free, group = room.pop(place)
        else:
            free, group = capacity, len(groups)
            groups.append([])
        groups[group].append(index)
        if free > length:
            insort(room, (free - length, group))
    return groups


def total_steps(rows: int, micro_batch: int, grad_accum: int, epochs: float, max_steps: int | None) -> int:
    """Optimizer steps of a run over `rows` (packed) rows; the last step of an epoch may be a smaller one."""
    if max_steps is not None:
        return max_steps
    per_epoch = math.ceil(math.ceil(rows / micro_batch) / grad_accum)
    return max(1, math.ceil(per_epoch * epochs))
