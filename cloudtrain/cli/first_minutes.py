"""The first minutes on a rented machine, reported as they happen: first heartbeat, what it does, accelerator check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from cloudtrain.units import gib, hours

if TYPE_CHECKING:
    from cloudtrain.runs.events import MachinePhase
    from cloudtrain.runs.record import Run

NEW_S = 120.0  # of an older machine the first heartbeat is not reported: another client has done that
PHASES = {
    "environment": "preparing the trainer's environment",
    "weights": "fetching the model",
    "training": "starting the trainer",
}


class FirstMinutes:
    """What a machine reports until its trainer's first event; each thing is reported once."""

    def __init__(self, run: Run) -> None:
        self.is_new = run.machine is not None and time.time() - run.machine.created < NEW_S
        self.phase = ""
        self.trains = False
        self.accelerator = "processor"
        self.played_by: Any = None

    def of_phase(self, event: MachinePhase) -> list[str]:
        """Sentences about another phase."""
        if self.trains:
            return []
        lines = []
        if not self.phase and self.is_new:
            lines.append(f"first heartbeat after {hours(event.waited_s)}")
        if event.phase in PHASES:
            size = f", {gib(event.fetch_bytes)}" if event.phase == "weights" and event.fetch_bytes else ""
            lines.append(f"{PHASES[event.phase]}{size}")
        self.phase = event.phase
        return lines

    def of_event(self, event: dict[str, Any]) -> str:
        """What a trainer's event says of the machine, "" for most. `data` comes after the accelerator was tried."""
        if event["event"] == "start":
            self.accelerator = str(event.get("accelerator") or "processor")
            self.played_by = event.get("played_by")
        if self.trains or event["event"] not in ("data", "loaded", "step"):
            return ""
        self.trains = True
        if self.played_by:
            return f"accelerator check: `{self.accelerator}` is simulated on the {self.played_by} of this machine"
        return f"accelerator check passed: {self.accelerator}"
