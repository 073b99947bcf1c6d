"""A fake cloud's clock: real or standing still, and always movable; what is due happens when somebody looks."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Clock:
    """Seconds since 1970. With `start` it stands still but for `advance`; without, it is the real time plus moves."""

    def __init__(self, start: float | None = None) -> None:
        self.virtual = start is not None
        self._base = start or 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.lock = threading.RLock()  # one at a time in the whole cloud

    def now(self) -> float:
        """The cloud's time."""
        return self._base if self.virtual else time.time() + self._base

    @property
    def moved(self) -> bool:
        """Whether it differs from the real time, which is what processes on this machine have."""
        return self.virtual or self._base > 1.0

    def advance(self, seconds: float) -> None:
        """Move forward, and let happen on the way what is due, in order."""
        with self.lock:
            target = self.now() + seconds
            while self._due and self._due[0][0] <= target:
                when, _, action = heapq.heappop(self._due)
                self._base += max(0.0, when - self.now())
                action()
            self._base += max(0.0, target - self.now())

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Let `action` happen at an instant."""
        with self.lock:
            heapq.heappush(self._due, (when, next(self._numbers), action))

    def run_due(self) -> None:
        """Let happen what is due by now."""
        self.advance(0.0)

    def sleep(self, seconds: float) -> None:
        """What a client on this clock calls to wait."""
        if self.virtual:
            self.advance(seconds)
        else:
            time.sleep(seconds)
