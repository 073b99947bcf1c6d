"""A job on a rented machine, as the client sees it: staged before the launch, watched through the bucket, ended.

The machine writes into the bucket and ends itself; any client that can read the state can do the rest.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cloudtrain.errors import ProviderError
from cloudtrain.providers import Stack, load
from cloudtrain.runs.chunks import LARGEST_CHUNK, log_key, log_starts
from cloudtrain.runs.metering import SELF_END_S
from cloudtrain.runs.record import Run
from cloudtrain.state.errors import BucketUnreachable

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import Heartbeat
    from cloudtrain.runs.transfer.bundle import Bundle

MachineEvent = Literal["", "ended", "vanished", "silent"]
READERS, AHEAD = 8, 32  # chunks of at most 64 KiB
MOST_BYTES = LARGEST_CHUNK  # of a chunk, whoever wrote it: so many are held at a time
CHUNK_BYTES = 65536  # of the machine's: what is full comes at once
STALE_BEATS = 3  # heartbeats that may be missing before the provider is asked


class Pace(NamedTuple):
    """How often something is asked for, in seconds, and how long a first sign of life may take.

    A day of it, with the machine's own writing, stays below ten cents of requests (a test adds it up).
    """

    log_s: float = 1.5
    idle_s: float = 9.0  # after a chunk that was not full: the machine collects for ten seconds
    exit_s: float = 15.0
    heartbeat_s: float = 30.0
    provider_s: float = 30.0
    first_s: float = 1200.0


SIMULATED = Pace(0.1, 0.0, 0.3, 0.5, 1.0, 60.0)


def pace(provider: str) -> Pace:
    """The pace at a provider; quick while simulating."""
    cloud = load("stacks", provider, Stack).cloud
    return SIMULATED if cloud is not None and cloud.timing().poll_s < 1 else Pace()


def reachable(url: str) -> None:
    """Raises UsageError for a state that no rented machine can reach, BucketDenied when none can get access."""
    from cloudtrain.signing import urls

    urls.check(url)


def stage_job(run: Run, plan: Plan) -> tuple[Plan, dict[str, Any]]:
    """The plan with what its machine boots from, and what the run's record keeps of it.

    Bundle and ticket are in the state when this returns. Raises UsageError when the machine could not reach something.
    """
    from cloudtrain.records import BundleRecord
    from cloudtrain.runs.transfer import bundle as bundles
    from cloudtrain.runs.transfer import ticket

    reachable(run.store.url)
    plan = replace(plan, heartbeat_s=pace(plan.provider).heartbeat_s)
    before = None if run.begun is None else run.begun.bundle
    kept: Bundle | None = None if before is None else bundles.Bundle(before.key, before.sha256, before.bytes)
    bundle = kept if kept and run.store.size(kept.key) == kept.bytes else bundles.ship(run.store, plan)
    boot = ticket.issue(run.store, run, plan, bundle)
    return replace(plan, boot=boot), {"bundle": BundleRecord(**bundle._asdict()), "model": plan.job["model"]}


class Monitor:
    """What there is to know of a rented run while it is followed, asked for no more often than its pace allows."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.pace = pace(run.intent.provider)
        self.last_event: MachineEvent = ""
        self.due: dict[str, float] = {}
        self.heartbeat: Heartbeat | None = None
        self.waited_s = 0.0  # for the first heartbeat
        self.heard_at = time.monotonic()  # when the heartbeat changed last, by our clock: the machine's may be wrong

    def is_due(self, what: str, every_s: float) -> bool:
        """Whether it is time to ask again; it is meant to be asked then."""
        now = time.monotonic()
        if now < self.due.get(what, 0.0):
            return False
        self.due[what] = now + every_s
        return True

    def poll(self) -> MachineEvent:
        """`ended`: the exit record is there. `vanished`: the machine is gone without it. `silent`: no heartbeat yet."""
        self.last_event = self.last_event or self.look()
        return self.last_event

    def look(self) -> MachineEvent:
        """What is new, if it is time to ask."""
        self.read_heartbeat()
        if self.is_due("exit", self.pace.exit_s) and self.has_ended():
            return "ended"
        quiet_s = time.monotonic() - self.heard_at
        if self.heartbeat is None and quiet_s > self.pace.first_s:
            return "silent"
        patience_s = STALE_BEATS * self.pace.heartbeat_s if self.heartbeat is not None else 0.0
        is_late = time.time() > self.run.intent.deadline + SELF_END_S  # whatever somebody writes in its name
        if (
            (quiet_s >= patience_s or is_late)
            and self.is_due("provider", self.pace.provider_s)
            and not self.may_exist()
        ):
            return "ended" if self.has_ended() else "vanished"
        return ""

    def has_ended(self) -> bool:
        """Whether this attempt's exit record is there."""
        return Run(self.run.store, self.run.id).exit is not None

    def read_heartbeat(self) -> None:
        """Take in the heartbeat."""
        is_training = self.heartbeat is not None and self.heartbeat.phase == "training"
        every_s = self.pace.heartbeat_s if is_training else self.pace.log_s
        if self.is_due("heartbeat", every_s):
            heartbeat = Run(self.run.store, self.run.id).heartbeat
            if heartbeat is not None and heartbeat != self.heartbeat:
                self.waited_s = self.waited_s or time.monotonic() - self.heard_at
                self.heartbeat, self.heard_at = heartbeat, time.monotonic()

    def may_exist(self) -> bool:
        """Whether the machine may still be there; a provider that cannot be asked proves nothing."""
        now = Run(self.run.store, self.run.id)
        try:
            return now.machine is not None and now.gone is None and now.stack.alive(now.machine)
        except ProviderError:
            return True

    def tolerate(self, error: BucketUnreachable) -> None:
        """The state cannot be reached: wait a moment. Raises `error` when the run's own time is over as well."""
        if time.time() > self.run.intent.deadline + SELF_END_S:
            raise error
        time.sleep(self.pace.exit_s)


def stream(run: Run, offset: int, monitor: Monitor | None = None) -> Iterator[bytes]:
    """The log from byte `offset` on, until the run has news and all of it was read. Empty: nothing new.

    What is there is listed once; then the next chunk's name is known, and nothing is listed any more.
    """
    monitor = monitor or Monitor(run)
    caught_up, missed, again = False, False, 0.0
    while True:
        try:
            over = monitor.poll()  # asked before the read, so that the last bytes are not missed
            found = False
            for data in () if caught_up else blocks(run, offset, None):
                found = True
                offset += len(data)
                yield data
            caught_up = True
            while over or time.monotonic() >= again:
                data = chunk(run, offset)
                missed, is_idle = not data, missed and 0 < len(data) < CHUNK_BYTES
                if not data:
                    break
                found = True
                offset += len(data)
                again = time.monotonic() + monitor.pace.idle_s * is_idle
                yield data
        except BucketUnreachable as error:  # the machine continues, and so does its log
            monitor.tolerate(error)
            yield b""
            continue
        if over:
            return
        if not found:
            time.sleep(monitor.pace.log_s)
            yield b""


def blocks(run: Run, offset: int, end: int | None) -> Iterator[bytes]:
    """The log from `offset` to `end`, or to where it ends now: listed once, some chunks read ahead."""
    starts = log_starts(run)
    begun = max((index for index, start in enumerate(starts) if start <= offset), default=0)
    waiting = iter(starts[begun:])
    with ThreadPoolExecutor(READERS) as readers:
        ahead = deque((each, readers.submit(chunk, run, each)) for each in itertools.islice(waiting, AHEAD))
        while ahead and (end is None or offset < end):
            start, reading = ahead.popleft()
            data = reading.result()[max(0, offset - start) : None if end is None else end - start]
            ahead.extend((each, readers.submit(chunk, run, each)) for each in itertools.islice(waiting, 1))
            if start > offset:
                return  # something is missing: what follows would be in a wrong place
            offset += len(data)
            if data:
                yield data


def chunk(run: Run, offset: int) -> bytes:
    """The chunk that begins at `offset`, of one longer than ours the beginning; empty while there is none."""
    return run.store.read_from(log_key(run, offset), 0, MOST_BYTES)
