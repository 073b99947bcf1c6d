"""A stand-in for a trainer on several hosts, with the standard library alone: every step needs every host.

As in JAX, host 0 listens at the coordinator's address, a step is made when all have come to it, whoever is asked to stop
stops all at the same step, and a host that is lost breaks the others. Host 0 alone writes checkpoints and the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))

import checkpoints
import machine
from events import Events, claim_stdout
from job import Job, read

PATIENCE_S = 60.0
EVERY = 4  # steps between two checkpoints


class Together:
    """The hosts, joined at the coordinator."""

    def __init__(self, here: machine.Host) -> None:
        self.here = here
        address, _, port = here.coordinator.rpartition(":")
        self.lines: list[Any] = []
        if here.number == 0:
            with socket.create_server((address, int(port))) as door:
                door.settimeout(PATIENCE_S)
                self.lines = [door.accept()[0].makefile("rw") for _ in range(here.hosts - 1)]
            return
        give_up = time.monotonic() + PATIENCE_S
        while not self.lines:
            try:
                self.lines = [socket.create_connection((address, int(port))).makefile("rw")]
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def any(self, value: bool) -> bool:
        """Whether it is true on any host. Raises ConnectionError when one is gone."""
        if self.here.number:
            self.say(self.lines[0], value)
            return self.hear(self.lines[0])
        found = any([self.hear(line) for line in self.lines]) or value
        for line in self.lines:
            self.say(line, found)
        return found

    def say(self, line: Any, value: bool) -> None:
        line.write(f"{int(value)}\n")
        line.flush()

    def hear(self, line: Any) -> bool:
        word = line.readline()
        if not word:
            raise ConnectionError("a host of the slice is gone")
        return bool(int(word))


def main(arguments: list[str]) -> int:
    """Run the job; returns the exit code."""
    events, asked = claim_stdout(), []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    job, here = read(Path(arguments[0])), machine.this_host()
    events.emit("start", host=here.number, hosts=here.hosts, chip=job.chip, devices=job.devices)
    try:
        return learn(job, events, Together(here), asked)
    except (ConnectionError, BrokenPipeError) as error:
        events.emit("error", code="unexpected", message=str(error))
        return 1


def learn(job: Job, events: Events, together: Together, asked: list[int]) -> int:
    """Every step that is left."""
    store = checkpoints.Store(Path(job.checkpoint.folder), job.checkpoint.keep)
    at = store.newest()
    first = 0 if at is None else checkpoints.step_of(at)
    state = "" if at is None else (at / "state").read_text()
    store.prepare()
    of = job.max_steps or 1
    events.emit("resumed", step=first)
    for step in range(first + 1, of + 1):
        state = hashlib.sha256(f"{state}/{step}".encode()).hexdigest()
        events.emit("step", step=step, of=of, loss=3.0 / step)
        time.sleep(float(os.environ.get("SLICE_PAUSE_S", "0.02")))
        stop = together.any(bool(asked))
        if together.here.number == 0 and (step % EVERY == 0 or step == of or stop):
            save(store, step, state)
        if stop and step < of:
            events.emit("stopped", reason="SIGTERM")
            return 75
    if together.here.number == 0:
        Path(job.output).mkdir(parents=True)
        (Path(job.output) / "adapter_config.json").write_text(json.dumps({"state": state}))
        (Path(job.output) / "metrics.json").write_text(json.dumps({"steps": of}))
    events.emit("done", steps=of, tokens=of, seconds=1.0, train_seconds=1.0, final_loss=0.1)
    return 0


def save(store: checkpoints.Store, step: int, state: str) -> None:
    """A whole checkpoint."""
    folder = store.partial / str(step)
    folder.mkdir(parents=True)
    (folder / "state").write_text(state)
    store.publish(folder, step, {"tokens": step, "train_seconds": 1.0, "losses": []})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
