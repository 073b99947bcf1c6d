"""A night from start to finish in one process: the tick as it is, repeated until the night's run has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cloudtrain import settings as settings_module
from cloudtrain.errors import CloudtrainError, JobFailed, NoCapacity, OverBudget, TeardownIncomplete
from cloudtrain.nights import book
from cloudtrain.nights.options import TickOptions
from cloudtrain.nights.outcome import Outcome
from cloudtrain.nights.tick import Ticked, tick
from cloudtrain.runs.client.machinery import Machinery
from cloudtrain.runs.events import Emit
from cloudtrain.state.store import open_store

if TYPE_CHECKING:
    from cloudtrain.settings import Settings

PAUSE_S: Final = 5.0  # half an hour, where a machine takes hours
MOST_TICKS: Final = 720  # an hour
DAY_S: Final = 86400.0
BAD: Final[dict[Outcome, type[CloudtrainError]]] = {
    "failed": JobFailed,
    "missed": NoCapacity,
    "leak": TeardownIncomplete,
    "skipped: budget": OverBudget,
}


def night(options: TickOptions, settings: Settings, emit: Emit, machinery: Machinery) -> Iterator[Ticked]:
    """Every tick of a night, as it was: one begins the run, some find it going on, one its end, and one no change.

    The night is due whatever the hour. It is for a state of its own, and tells no forge. Raises by a night's bad end.
    """
    options = replace(options, latest_s=DAY_S)
    for _ in range(MOST_TICKS):
        ticked = tick(options, settings, {}, emit, machinery)
        yield ticked
        book.write_told(open_store(settings.state), options.name, ticked.nights)
        if ticked.tick.outcome in BAD:
            raise BAD[ticked.tick.outcome](ticked.tick.message)
        if any(each.outcome == "finished" for each in ticked.events):
            break
        time.sleep(PAUSE_S)
    else:
        raise NoCapacity("the night's run has not ended within an hour", "")
    yield tick(options, settings, {}, emit, machinery, settings_module.now() + DAY_S)
