"""What happens to a whole run from outside: when, and what it does to machine, bucket and clients."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.simulator.faults import Kind

if TYPE_CHECKING:
    from cloudtrain.simulator.sandbox import Sandbox
    from tests.campaign.job_world import JobWorld

PROGRAMS = {"agent": "agent.py", "boot": "boot.py", "supervisor": "supervisor.py", "trainer": "trainer.py", "job": "sh"}
ON_MACHINES = (
    "preempt",
    "take",
    "off",
    "crash",
    "reboot",
    "kill agent",
    "kill boot",
    "kill supervisor",
    "kill trainer",
)
ON_CLIENTS = ("kill client", "kill engine", "kill both", "down", "poll", "up", "attach", "kill request")
ON_BUCKETS = ("blackout", "blackout", "bucket fault", "bucket fault", "bucket fault")
BUCKET_CALLS = {
    "machine": ("S3.PostObject", "S3.GetObject"),
    "client": ("S3.PutObject", "S3.GetObject", "S3.HeadObject", "S3.ListObjectsV2", "S3.DeleteObject*"),
    "both": ("S3.*",),
}
BUCKET_KINDS: tuple[Kind, ...] = ("lost_reply", "dropped", "throttled", "unavailable", "cut")
FOR_EVER = 10**6


class Event(NamedTuple):
    """Something that happens `number` seconds after the start or after the first machine runs, or at a step."""

    what: str
    after: str  # start | machine | step
    number: float


def draw(random: Random, steps: int) -> list[Event]:
    """The events of one trial."""
    found = []
    for _ in range(random.choice((0, 1, 1, 2, 2, 3, 4, 6, 9))):
        what = random.choice((random.choice(ON_MACHINES), random.choice(ON_CLIENTS), random.choice(ON_BUCKETS)))
        after = random.choice(("start", "machine", "step"))
        longest = {"start": 4.0, "machine": 3.0, "step": float(steps)}[after]
        found.append(Event(what, after, round(random.uniform(0.0, longest), 2)))
    return found


class Chaos:
    """Does to machines and buckets what events say."""

    def __init__(self, world: JobWorld, random: Random) -> None:
        self.world, self.random = world, random
        self.fake: Any = world.fake
        self.blackouts: list[tuple[float, Any]] = []  # until (on the trial's own clock), fault

    def to_machine(self, what: str) -> str | None:
        """Let it happen to a machine that runs; what was done, or None while there is none."""
        room = self.fake.room
        running = sorted(room.running)
        if not running:
            return None
        name = self.random.choice(running)
        box = room.running[name]
        if what.startswith("kill "):
            return f"{what} on {name}: {kill(box, PROGRAMS[what[5:]])} processes"
        with contextlib.suppress(KeyError, StopIteration):  # it has just ended
            if what == "reboot":
                return self.reboot(name, box)
            notice_s = round(self.random.uniform(0.3, 4.0), 2) if what == "preempt" else 0.0
            if what in ("preempt", "take"):
                self.preempt(name, notice_s)
                return f"preempted {name} with {notice_s} s of notice"
            self.cut(name, what)
            return f"{what}: {name}"
        return f"{what}: {name} was gone"

    def preempt(self, name: str, notice_s: float) -> None:
        """The provider takes it back."""
        if self.world.target == "gce":
            name = self.fake._machine(name)["name"]
        power_button = (self.random.random() < 0.5,) if self.world.target in ("gce", "tpu") else ()
        self.fake.preempt(name, notice_s, *power_button)

    def cut(self, name: str, what: str) -> None:
        """Switched off by its own hand (`off`), or broken (`crash`)."""
        with self.fake.clock.lock:
            (self.fake.switch_off if what == "off" else self.fake.crash)(name)

    def reboot(self, name: str, box: Sandbox) -> str:
        """The machine starts again on its disk; a container loses it, half of the time."""
        if self.world.target != "runpod":
            with self.fake.clock.lock:
                self.fake.restart(name)
            return f"rebooted {name}"
        box.tell(signal.SIGKILL, first_only=True)
        if self.random.random() < 0.5:
            return f"container of {name} restarted"
        forget_disk(box)
        return f"container of {name} restarted on an empty disk"

    def to_bucket(self, what: str, now: float) -> str:
        """A blackout of one side or both, or some requests that fail."""
        faults = self.world.both.buckets.faults
        side = self.random.choice(sorted(BUCKET_CALLS))
        if what == "blackout":
            broken: Kind = self.random.choice(("dropped", "unavailable"))
            seconds = round(self.random.uniform(0.2, 4.0), 2)
            for call in BUCKET_CALLS[side]:
                faults.add(call, broken, FOR_EVER)
                self.blackouts.append((now + seconds, faults.waiting[-1]))
            return f"bucket {broken} for {seconds} s, for {side}"
        kind = self.random.choice(BUCKET_KINDS)
        call, times = self.random.choice(BUCKET_CALLS[side]), self.random.randint(1, 3)
        faults.add(call, kind, times)
        return f"{call}: {kind} {times} times"

    def lighten(self, now: float) -> None:
        """End the blackouts whose time is over."""
        for until, fault in self.blackouts:
            if now >= until:
                fault.times = 0
        self.blackouts = [each for each in self.blackouts if now < each[0]]


def kill(box: Sandbox, program: str) -> int:
    """SIGKILL to every process of the machine that runs the program; to how many."""
    count = 0
    for pid in list(box.processes()):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if any(word.endswith(program.encode()) for word in words[:4]):
                os.kill(pid, signal.SIGKILL)
                count += 1
    return count


def forget_disk(box: Sandbox) -> None:
    """The machine's own files are gone; what its trainers wrote is kept aside for the verifier."""
    source = box.folder / "cloudtrain"
    if source.exists():
        kept = box.folder / "lost"
        kept.mkdir(exist_ok=True)
        source.rename(kept / str(len(list(kept.iterdir()))))
        shutil.rmtree(source, ignore_errors=True)
