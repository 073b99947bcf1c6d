"""The end of a trainer: a signal or the deadline, what it does before, in and after the training, the last event."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from events import Events
from failures import Failure, Preempted


class Interrupted(BaseException):
    """A stop was asked for before there was anything to save."""


class Stop:
    """What a stop request does: before training it ends the run, during it the next step does, later nothing."""

    def __init__(self) -> None:
        self.reason = ""
        self.act: Callable[[], None] = self._interrupt
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def because(self, reason: str) -> None:
        """Remember the first reason."""
        self.reason = self.reason or reason

    @property
    def is_early(self) -> bool:
        """Whether it was asked for before training: what fails after that fails by it, whatever it is called then."""
        return bool(self.reason) and self.act == self._interrupt

    def _on_signal(self, number: int, frame: Any) -> None:
        self.because(signal.Signals(number).name)
        self.act()

    def _interrupt(self) -> None:
        raise Interrupted


def report(events: Events, failure: Failure) -> int:
    """Say why the run ends; returns the exit code that says it too."""
    if isinstance(failure, Preempted):
        events.emit("stopped", reason=str(failure))
    else:
        events.emit("error", code=failure.code, message=str(failure))
    return failure.exit_code
