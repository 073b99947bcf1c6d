"""A named stretch of a job's time."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.offer import Range


class TimePart(NamedTuple):
    """One named stretch of time, in seconds; what is waited for a machine is not billed."""

    name: str
    seconds: Range
    source: str
    billed: bool = True
