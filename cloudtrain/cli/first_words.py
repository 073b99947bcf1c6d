"""The first minutes on a rented machine, told as they happen: first heartbeat, what it does, accelerator check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cloudtrain.units import gib, hours

if TYPE_CHECKING:
    from cloudtrain.runs.remote import Watch

NEW_S = 120.0  # of an older machine it is not told when it spoke first: somebody else has seen that
PHASES = {
    "environment": "preparing the trainer's environment",
    "weights": "fetching the model",
    "training": "the trainer starts",
}


class FirstWords:
    """What a machine says of itself until its trainer speaks; each thing is told once."""

    def __init__(self, watcher: Watch) -> None:
        self.watcher = watcher
        machine = watcher.run.machine
        self.is_new = machine is not None and time.time() - machine.created < NEW_S
        self.phase = ""
        self.trains = False
        self.accelerator = "processor"
        self.played_by: Any = None

    def new(self) -> list[str]:
        """Sentences that were not told yet."""
        beat = self.watcher.beat
        if beat is None or self.trains:
            return []
        told = []
        if not self.phase and self.is_new:
            told.append(f"the machine speaks: first heartbeat after {hours(self.watcher.waited_s)}")
        phase = beat.phase or "boot"
        if phase != self.phase and phase in PHASES:
            size = f", {gib(beat.fetch_bytes)}" if phase == "weights" and beat.fetch_bytes else ""
            told.append(f"{PHASES[phase]}{size}")
        self.phase = phase
        return told

    def hear(self, event: dict[str, Any]) -> str:
        """What a trainer's event says of the machine, "" for most. `data` comes after the accelerator was tried."""
        if event["event"] == "start":
            self.accelerator = str(event.get("accelerator") or "processor")
            self.played_by = event.get("played_by")
        if self.trains or event["event"] not in ("data", "loaded", "step"):
            return ""
        self.trains = True
        if self.played_by:
            return f"accelerator check: `{self.accelerator}` is played by the {self.played_by} of this simulation"
        return f"accelerator check passed: {self.accelerator}"
