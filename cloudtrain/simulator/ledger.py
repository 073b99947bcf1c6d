"""What a fake cloud would bill: every billable object, from when to when, at which price."""

from __future__ import annotations

from dataclasses import dataclass, field

from cloudtrain.simulator.clock import Clock


@dataclass
class Entry:
    """One billable object. `end` is None while it costs money."""

    id: str
    what: str
    usd_per_hour: float
    begin: float
    end: float | None = None


@dataclass
class Ledger:
    """All entries of a fake cloud, in the order in which they were opened."""

    clock: Clock
    entries: list[Entry] = field(default_factory=list)

    def open(self, id: str, what: str, usd_per_hour: float) -> None:  # noqa: A002  # the cloud's word for it
        """A billable object exists from now on."""
        self.entries.append(Entry(id, what, usd_per_hour, self.clock.now()))

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
