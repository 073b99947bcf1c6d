"""The accelerator table by key, as the quote looks chips up thousands of times."""

from __future__ import annotations

from functools import cache

from cloudtrain.estimate import hardware
from cloudtrain.estimate.hardware import Hardware


@cache
def chips() -> dict[str, Hardware]:
    """Every row of the accelerator table under its key."""
    return {row.key: row for row in hardware.all_hardware()}
