"""The event stream: JSON lines on the standard output, which from then on carries nothing else."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any, TextIO


class Events:
    """Writes one JSON object a line and flushes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: str, **fields: Any) -> None:
        """Write one event with its time in seconds since the epoch."""
        self.write({"event": event, "time": time.time(), **fields})

    def write(self, record: dict[str, Any]) -> None:
        """Write one object. A figure that is no number (a diverged loss) becomes null, for JSON has no NaN."""
        try:
            self._stream.write(json.dumps({key: _plain(value) for key, value in record.items()}) + "\n")
            self._stream.flush()
        except BrokenPipeError:  # the reader is gone; the work continues, to its checkpoints and its deadline
            self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def claim_stdout() -> Events:
    """Keep the standard output for events; whatever a library prints there goes to the standard error instead."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return Events(stream)


def _plain(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return round(value, 9) if math.isfinite(value) else None
