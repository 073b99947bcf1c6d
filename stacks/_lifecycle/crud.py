"""Create, wait, read and delete one resource so that a crash at any point leaves a record of what may exist.

The provider plugin, the in-process campaign and the recovery all go through here; the order of record and call is
the crash protocol: marker, intent, call, answer, and only then any waiting.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudtrain.errors import (
    Balance,
    Cancelled,
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    ProviderError,
    Quota,
    Rejected,
    Unavailable,
    Unknown,
    UsageError,
)
from cloudtrain.providers import Cloud, Driver, ResourceState

from .journal import Journal

FINAL = (NoCapacity, Quota, Balance, Permission, MissingCredentials, Rejected)
TRIES = 5  # of a call that was surely not performed
PATIENCE_TIMES = 2  # horizons for which a provider that does not answer is asked whether something is there
REPEATS = 2  # of a call that may have been performed, and of which nothing is to be seen
POLLS_OF_A_DELETE = 60
BEGAN = time.time() - time.monotonic()


def steady() -> float:
    """Seconds since 1970 as this process began to count them: changes of the clock do not affect it."""
    return BEGAN + time.monotonic()


class HalfMade(Exception):
    """It exists and is not ready: `seen` must be kept, `cause` says why."""

    def __init__(self, seen: ResourceState, cause: ProviderError | Cancelled) -> None:
        super().__init__(cause.message)
        self.seen = seen
        self.cause = cause


@dataclass(frozen=True)
class World:
    """What the protocol needs around a cloud: its record, the journal, a clock, a stop request and a log."""

    provider: str
    cloud: Cloud
    journal: Journal
    now: Callable[[], float] = steady
    sleep: Callable[[float], None] = time.sleep
    stopped: Callable[[], bool] = lambda: False
    log: Callable[[str], None] = lambda text: None
    states: tuple[str, ...] = ("",)  # the ids that the run's names may carry; see `cloudtrain/state/identity.py`

    def driver(self, kind: str) -> Driver:
        """The driver of a kind. Raises KeyError for one that this version does not know."""
        return self.cloud.drivers[kind]


def create(world: World, kind: str, inputs: Mapping[str, Any]) -> ResourceState:
    """Make it, or adopt what a lost answer made, and wait until it is ready.

    Raises HalfMade when it exists and did not become ready, Cancelled after the marker, else a provider error.
    """
    driver = world.driver(kind)
    if driver.shared and (there := driver.find(inputs)):
        return there[0]
    number, seen = send_create(world, kind, inputs)
    try:
        return wait_ready(world, kind, inputs, seen)
    except HalfMade as half:
        world.journal.abandoned(number, half.cause)
        raise


def send_create(world: World, kind: str, inputs: Mapping[str, Any]) -> tuple[str, ResourceState]:
    """The number of the intent and what was made. Every try is written down before it is sent."""
    driver, timing = world.driver(kind), world.cloud.timing()
    refusals = repeats = 0
    while True:
        world.journal.check_cancelled(int(inputs["attempt"]))
        number = world.journal.intend("create", world.provider, kind, inputs)
        world.log(f"asking {world.provider} for {inputs['role']}")
        try:
            seen = driver.create(inputs)
        except Unknown as error:
            found = look(world, driver, inputs, error)
            if found is None and repeats < REPEATS and not world.stopped():
                repeats += 1
                continue
            if found is None:
                world.journal.abandoned(number, error)
                raise
            seen = found
        except Unavailable as error:
            world.journal.refused(number, error)
            refusals += 1
            if refusals >= TRIES or world.stopped():
                raise
            world.sleep(timing.poll_s * 2**refusals)
            continue
        except ProviderError as error:
            world.journal.refused(number, error)
            raise
        world.journal.answered(number, seen.id)
        return number, seen


def look(world: World, driver: Driver, inputs: Mapping[str, Any], lost: Unknown) -> ResourceState | None:
    """What a call without an answer has made, or None when nothing shows.

    Long enough that a repeat is safe: as long as a list may lag where the same call twice makes one thing, else until
    no such call can be in flight any more and the provider has said once more that nothing is there. Raises `lost`
    when it does not say so.
    """
    timing = world.cloud.timing()
    give_up = world.now() + (timing.consistency_s if driver.repeatable else timing.in_flight_s + timing.consistency_s)
    while True:
        asked, found = world.now(), None
        with contextlib.suppress(Unavailable, Unknown):
            found = driver.find(inputs)
        if found:
            return found[0]
        if world.stopped() or (asked >= give_up and (found is not None or driver.repeatable)):
            return None
        if asked >= give_up + PATIENCE_TIMES * timing.in_flight_s:
            raise lost
        world.sleep(timing.poll_s)


def wait_ready(world: World, kind: str, inputs: Mapping[str, Any], seen: ResourceState) -> ResourceState:
    """Wait until it is ready. Raises HalfMade with the reason: gone again, ended, too slow, or asked to stop."""
    driver, timing = world.driver(kind), world.cloud.timing()
    begin = world.now()
    while seen.state != "ready":
        if seen.state in ("ended", "deleting"):
            raise HalfMade(seen, Unavailable(f"{inputs['role']} {seen.id} ended before it was ready: {seen.message}"))
        if world.stopped():
            raise HalfMade(seen, Cancelled(f"asked to stop while {inputs['role']} {seen.id} was being made"))
        if world.now() - begin > driver.ready_s:
            raise HalfMade(seen, Unavailable(f"{inputs['role']} {seen.id} was not ready in {driver.ready_s:.0f} s"))
        world.sleep(timing.poll_s)
        try:
            seen = driver.status(inputs, seen.id)
        except FINAL as error:  # may be a NotFound as well, when nothing is left of what was abandoned
            raise HalfMade(seen, error) from None
        except NotFound as error:
            if world.now() - begin > timing.consistency_s:
                gone = NoCapacity(f"{inputs['role']} {seen.id} vanished while it was being made: {error.message}")
                raise HalfMade(seen, gone) from None
        except (Unavailable, Unknown):
            continue
        except ProviderError as error:
            raise HalfMade(seen, error) from None
    return seen


def delete(world: World, kind: str, inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Ask for its end until the provider takes it; what is not there any more is fine.

    Raises Unavailable or Unknown after a while, and at once what repeating does not fix. A record that cannot be
    written, on a full disk say, keeps nothing alive: a delete without one does no harm.
    """
    driver, timing = world.driver(kind), world.cloud.timing()
    if driver.shared:
        return
    number = None
    with contextlib.suppress(UsageError):
        number = world.journal.intend("delete", world.provider, kind, inputs, id)
    for poll in range(POLLS_OF_A_DELETE):
        try:
            driver.delete(inputs, id)
        except NotFound:
            break
        except (MissingCredentials, Permission):
            raise
        except (Unavailable, Unknown):
            if poll == POLLS_OF_A_DELETE - 1 or world.stopped():
                raise
            world.sleep(timing.poll_s)
            continue
        break
    if number is not None:
        with contextlib.suppress(UsageError):
            world.journal.answered(number, id)


def read(world: World, kind: str, inputs: Mapping[str, Any], id: str) -> ResourceState | None:  # noqa: A002
    """What is there now, or None when the provider says that it is not."""
    try:
        return world.driver(kind).status(inputs, id)
    except NotFound:
        return None
