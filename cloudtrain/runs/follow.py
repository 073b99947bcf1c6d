"""Reading a run's log by byte offset, and the trainer's events in it. Nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloudtrain.runs.chunks import log_key, log_size, log_starts
from cloudtrain.runs.record import Run

if TYPE_CHECKING:
    from cloudtrain.runs.remote import Monitor

BLOCK_BYTES = 1 << 20
LINE_BYTES = 1 << 20  # of one line; the trainers' events have a few hundred


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
    if lines == 0:
        return size
    wanted = lines  # ends of lines that are passed before it
    for offset, data in backwards(run, size):
        if offset + len(data) == size and data.endswith(b"\n"):
            wanted += 1  # the last line's own
        ends = data.count(b"\n")
        if ends >= wanted:
            place = len(data)
            for _ in range(wanted):
                place = data.rindex(b"\n", 0, place)
            return offset + place + 1
        wanted -= ends
    return 0


def backwards(run: Run, size: int) -> Iterator[tuple[int, bytes]]:
    """The log from its end to its beginning, each byte read once: the offset of each block, and the block."""
    end = size
    for start in reversed(log_starts(run)):
        while end > start:
            begin = max(start, end - BLOCK_BYTES)
            data = run.store.read_from(log_key(run, start), begin - start, end - begin)
            yield begin, data
            end = begin


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


class LineCutter:
    """Blocks of bytes as lines without their ends. Of a line longer than LINE_BYTES only the beginning is kept."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take in bytes; returns the lines that became whole."""
        first, *others = data.split(b"\n")
        self._hold(first)
        lines = []
        for piece in others:
            lines.append(self.rest())
            self._hold(piece)
        return lines

    def rest(self) -> bytes:
        """What there is of a line that has no end yet."""
        line = b"".join(self.parts)
        self.parts, self.held = [], 0
        return line

    def _hold(self, piece: bytes) -> None:
        piece = piece[: LINE_BYTES - self.held]
        if piece:
            self.parts.append(piece)
            self.held += len(piece)


@dataclass
class Progress:
    """The latest figures a trainer has printed, fed with the raw bytes of its log."""

    latest: dict[str, Any] = field(default_factory=dict)
    lines: LineCutter = field(default_factory=LineCutter)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take in bytes; returns the events that became whole."""
        events = []
        for line in self.lines.feed(data):
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
    except (ValueError, RecursionError):
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
    if now.machine is None:
        return now.state != "starting"
    return now.exit is not None or not now.alive
