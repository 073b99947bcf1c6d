"""What a fake cloud would bill: every billable object, from when to when, at which price; and what its bill shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from cloudtrain.simulator.clock import Clock


@dataclass
class Entry:
    """One billable object. `end` is None while it costs money; `tags` are those it was made with."""

    id: str
    what: str
    usd_per_hour: float
    begin: float
    end: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    disk_usd_per_hour: float = 0.0  # how much of the price is its disk's


class Delay(NamedTuple):
    """How old a use is when it first is on a bill, and when it is whole; in between it grows evenly."""

    first_s: float
    settled_s: float

    def billed_s(self, begin: float, end: float, now: float) -> float:
        """Of the seconds between two instants, how many a bill shows now."""
        return self._shown(now - begin) - self._shown(now - end)

    def _shown(self, age: float) -> float:
        """The integral of the share that is shown, from age 0 on."""
        grown = min(max(0.0, age - self.first_s), self.settled_s - self.first_s)
        rising = grown * grown / (2 * (self.settled_s - self.first_s)) if self.settled_s > self.first_s else 0.0
        return rising + max(0.0, age - self.settled_s)


@dataclass
class Ledger:
    """All entries of a fake cloud, in the order in which they were opened."""

    clock: Clock
    entries: list[Entry] = field(default_factory=list)

    def open(
        self,
        id: str,  # noqa: A002  # the cloud's word for it
        what: str,
        usd_per_hour: float,
        tags: Mapping[str, str] | None = None,
        disk: float = 0.0,
    ) -> None:
        """A billable object exists from now on."""
        self.entries.append(Entry(id, what, usd_per_hour, self.clock.now(), None, tags or {}, disk))

    def close(self, id: str) -> None:  # noqa: A002
        """It costs nothing any more; unknown or closed before is fine."""
        for entry in self.entries:
            if entry.id == id and entry.end is None:
                entry.end = self.clock.now()

    def running(self) -> list[Entry]:
        """What costs money now."""
        self.clock.run_due()
        return [entry for entry in self.entries if entry.end is None]

    def usd(self) -> float:
        """The bill so far."""
        now = self.clock.now()
        return sum((min(e.end or now, now) - e.begin) / 3600 * e.usd_per_hour for e in self.entries)

    def billed_hours(self, entry: Entry, delay: Delay, begin: float, end: float) -> float:
        """Hours of an entry between two instants that a bill with this delay shows now."""
        now = self.clock.now()
        first, last = max(begin, entry.begin), min(end, entry.end or now, now)
        return delay.billed_s(first, last, now) / 3600 if last > first else 0.0
