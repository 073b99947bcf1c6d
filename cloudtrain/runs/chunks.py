"""The pieces of a run's log by the bytes at which they begin; what else lies in the log's folder is none of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cloudtrain.state.errors import StrangeKey

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run

_CHUNK = re.compile(r"[0-9]{16}")
LARGEST_CHUNK = 1 << 20  # bytes of log in one object that are taken; a machine ships 64 KiB


def log_size(run: Run) -> int:
    """Bytes of log so far."""
    starts = log_starts(run)
    return starts[-1] + chunk_bytes(run, starts[-1]) if starts else 0


def log_starts(run: Run) -> list[int]:
    """The byte offsets at which the chunks of the log begin, ascending; what else lies there is no log.

    One that begins behind the end that the last one can have belongs to no log either.
    """
    try:
        names = run.store.children(run.key("log"))
    except StrangeKey:
        return walked_starts(run)
    starts, end = [], 0
    for start in (int(name) for name in names if _CHUNK.fullmatch(name)):
        if start > end:
            break
        starts.append(start)
        end = start + (LARGEST_CHUNK if run.is_rented else chunk_bytes(run, start))
    return starts


def walked_starts(run: Run) -> list[int]:
    """The same where the folder cannot be listed: each chunk's size says where the next one begins."""
    starts, end = [], 0
    while (size := chunk_bytes(run, end)) > 0:
        starts.append(end)
        end += size
    return starts


def chunk_bytes(run: Run, start: int) -> int:
    """How large the chunk is that begins there; a machine ships no larger ones than it may."""
    size = run.store.size(log_key(run, start))
    return min(size, LARGEST_CHUNK) if run.is_rented else size


def log_key(run: Run, start: int) -> str:
    """The state key of the chunk that begins at this byte."""
    return run.key(f"log/{start:016d}")
