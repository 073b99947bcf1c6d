"""Reading a run's log by byte offset, and the trainer's events in it. Nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudtrain.runs.record import Run, log_key, log_size, log_starts

if TYPE_CHECKING:
    from cloudtrain.runs.remote import Monitor

BLOCK_BYTES = 1 << 20


def read_log(run: Run, offset: int, limit: int = BLOCK_BYTES) -> bytes:
    """At most `limit` bytes of log from byte `offset` on; empty when there is nothing (yet)."""
    starts = log_starts(run)
    for position, start in reversed(list(enumerate(starts))):
        if start <= offset:
            data = run.store.read_from(log_key(run, start), offset - start, limit)
            if data or position + 1 == len(starts):
                return data
            return read_log(run, starts[position + 1], limit) if starts[position + 1] == offset else b""
    return b""


def tail_offset(run: Run, lines: int) -> int:
    """The offset at which the last `lines` lines of the log begin."""
    size = log_size(run)
    block, data = 65536, b""
    start = size
    while start > 0 and data.count(b"\n") <= lines:
        start = max(0, start - block)
        data = b"".join(blocks(run, start, size))
    pieces = data.splitlines(keepends=True)
    return size - sum(map(len, pieces[-lines:])) if lines else size


def blocks(run: Run, offset: int, end: int | None = None) -> Iterator[bytes]:
    """The log from `offset` to `end` (or to where it ends now), block by block."""
    if run.begun is None:  # its folder is there before it has begun
        return
    if not run.stack.direct:
        from cloudtrain.runs import remote

        yield from remote.blocks(run, offset, end)
        return
    while end is None or offset < end:
        limit = BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - offset)
        data = read_log(run, offset, limit)
        if not data:
            return
        offset += len(data)
        yield data


@dataclass
class Progress:
    """The latest figures a trainer has printed, fed with the raw bytes of its log."""

    latest: dict[str, Any] = field(default_factory=dict)
    partial: bytes = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take in bytes; returns the events that became whole."""
        *lines, self.partial = (self.partial + data).split(b"\n")
        events = []
        for line in lines:
            event = parse_event(line)
            if event is not None:
                self.latest.update({k: v for k, v in event.items() if k not in ("event", "time") and v is not None})
                events.append(event)
        return events


def parse_event(line: bytes) -> dict[str, Any] | None:
    """A line of the log as a trainer's event, or None when it is not one."""
    if not line.startswith(b"{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def stream(run: Run, offset: int, poll_s: float = 0.2, monitor: Monitor | None = None) -> Iterator[bytes]:
    """The log from `offset` until the run has ended and all of it was read. An empty block means: nothing new."""
    if not run.stack.direct:
        from cloudtrain.runs import remote

        yield from remote.stream(run, offset, monitor)
        return
    while True:
        ended = has_ended(run)  # asked before the read, so that the last bytes are not missed
        data = read_log(run, offset)
        offset += len(data)
        if not data:
            if ended:
                return
            time.sleep(poll_s)
        yield data


def has_ended(run: Run) -> bool:
    """Whether nothing will be added to the log any more."""
    now = Run(run.store, run.id)
    return now.exit is not None or (now.machine is not None and not now.alive)
