"""How long tests wait: for what takes moments on an idle machine, so long that only what never comes is missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 900.0
# What a client allows a request, what is in flight at most, what a list lags behind, and between two looks, in seconds:
# nothing of a fake makes a client wait for an answer, so a request that is slow is so because the machine is.
TIMING = f"{PATIENCE_S},0.2,0.05,0.01"


def until(happened: Callable[[], Any], what: str = "it") -> Any:
    """What `happened` returns once it is true."""
    give_up = time.monotonic() + PATIENCE_S
    while not (found := happened()):
        assert time.monotonic() < give_up, f"{what} did not happen"
        time.sleep(0.02)
    return found


def at_some_pace(play: Callable[[float], None]) -> None:
    """Play a scene in which real seconds matter: at the pace of an idle machine, else four and sixteen times as slow.

    `play` gets that factor; a scene that is right at one of the paces is right.
    """
    for factor in (1.0, 4.0):
        try:
            return play(factor)
        except AssertionError:
            continue
    return play(16.0)
