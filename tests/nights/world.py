"""One schedule on one fake cloud, with a clock that tests move: ticks as a program gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloudtrain import settings
from cloudtrain.nights import book
from cloudtrain.nights.options import TickOptions
from cloudtrain.nights.tick import Ticked, tick
from cloudtrain.records import NightRecord
from cloudtrain.runs.events import Event
from cloudtrain.runs.record import Run
from tests.campaign.nights_world import NightsWorld
from tests.campaign.toy_engine import Killed

HOUR = 3600.0
MIDNIGHT = datetime(2026, 3, 17, tzinfo=UTC).timestamp()
OPTIONS = TickOptions(Path("cloudtrain.yaml"), "nightly", at="01:00", infra=("runpod",), hardware=("mi300x",))
PLACES = {"runpod": {"accept_risk": True}, "aws": {"infra": ("aws/us-east-1",), "hardware": ("cpu-amx",), "spot": True}}


class Schedule:
    """A schedule whose nights are due at 01:00 UTC and may begin six hours late."""

    def __init__(self, world: NightsWorld, options: TickOptions) -> None:
        self.world, self.options = world, options
        self.told: list[Event] = []
        self.environment: dict[str, str] = {}

    def tick(self, hour: float | None = None, fuse: int | None = None, **changes: Any) -> Ticked:
        """A tick so many hours after the first midnight, by a new client. Raises Killed when the fuse is too short."""
        world = self.world
        if hour is not None:
            world.until(MIDNIGHT + hour * HOUR)
        world.host = f"runner-{next(world.numbers)}"
        world.fuse.arm(fuse)
        try:
            ticked = tick(replace(self.options, **changes), settings.load(), self.environment, self.told.append)
            book.write_told(world.store, ticked.tick.schedule, ticked.nights)
            return ticked
        finally:
            world.fuse.arm(None)

    def killed(self, hour: float, calls: int) -> None:
        """A tick whose client dies after so many calls."""
        try:
            self.tick(hour, calls)
        except Killed:
            return
        raise AssertionError(f"it was over within {calls} calls")

    def night(self, day: str) -> NightRecord:
        """The record of a date in March 2026."""
        found = book.night(self.world.store, "nightly", f"2026-03-{day}")
        assert found is not None
        return found

    @property
    def runs(self) -> list[str]:
        """Every run that has ever had a machine."""
        store = self.world.store
        return [name for name in store.children("runs") if Run(store, name).machine or Run(store, name).attempts]


@contextmanager
def schedule(cloud: str = "runpod", **changes: Any) -> Iterator[Schedule]:
    """A world with a schedule, an hour before its first midnight."""
    with NightsWorld(cloud, MIDNIGHT - HOUR) as world:
        yield Schedule(world, replace(OPTIONS, **{**PLACES[cloud], **changes}))


def on_a_ci_system(repository: str) -> dict[str, str]:
    """What a job of GitHub's sees."""
    return {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": repository, "PATH": os.environ["PATH"]}
