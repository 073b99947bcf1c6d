"""Fault schedules without processes: virtual clock, toy engine, real drivers, real fakes; hundreds a minute."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from cloudtrain.errors import CloudtrainError, TeardownIncomplete
from cloudtrain.plan import Plan
from cloudtrain.providers import Cloud, Stack, load
from cloudtrain.runs import sweep as runs_sweep
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Fake
from cloudtrain.state.store import LocalFolder
from tests.campaign.clouds import Target
from tests.campaign.parts import crud, journal, recover
from tests.campaign.toy_engine import Bomb, Killed, ToyEngine

BEGIN = 1795600000.0  # 2026-11-25
HOUR = 3600.0
STEPS = 60  # within so many steps of a client it may be killed
STATE = "0a1b2c3d"  # whose runs these are


class Outcome(NamedTuple):
    """What came of one trial: things that cost money though they were said to be gone or their time was up; lies."""

    leaks: list[str]
    lies: list[str]
    story: list[str]
    facts: tuple[str, ...] = ()  # what the trial came to, to be counted


def plan_for(target: Target, run: str, deadline: float) -> Plan:
    """A plan for the target's machine."""
    return Plan(
        run=run, state=STATE, identity="0" * 64, provider=target.provider, flavour="cpu", line=target.line, job={},
        spec_yaml="", data_sha256="", deadline=deadline, deadline_basis="the campaign", guards=(), flops_per_token=1.0,
    )  # fmt: skip


@contextmanager
def surroundings(values: dict[str, str]) -> Iterator[None]:
    """These environment variables while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def trial(target: Target, seed: int, protocol: bool = True) -> Outcome:
    """One schedule: up with faults and a death, down with faults and a death, down again, deadline, sweep."""
    random = Random(seed)
    clock = Clock(BEGIN)
    fake = target.fake(clock)
    try:
        with surroundings(fake.environment()), tempfile.TemporaryDirectory() as folder:
            return Trial(target, random, clock, fake, LocalFolder(Path(folder)), f"campaign-{seed}").run(protocol)
    finally:
        fake.stop()


class Trial:
    """The pieces of one trial."""

    def __init__(
        self, target: Target, random: Random, clock: Clock, fake: Fake, store: LocalFolder, run: str
    ) -> None:  # fmt: skip
        self.target, self.random, self.clock, self.fake, self.store, self.name = target, random, clock, fake, store, run
        cloud = load("stacks", target.provider, Stack).cloud
        assert cloud is not None
        self.cloud: Cloud = cloud
        self.engine = ToyEngine(random)
        self.story: list[str] = []
        self.leaks: list[str] = []
        self.lies: list[str] = []

    def run(self, protocol: bool) -> Outcome:
        """The whole schedule."""
        self.scatter(self.random.randint(0, 4))
        self.story.append(f"faults {[(f.call, f.kind, f.times) for f in self.fake.faults.waiting]}")
        self.up()
        if self.random.random() < 0.5:
            self.scatter(self.random.randint(1, 3))
        if protocol:
            for _ in range(self.random.choice((0, 0, 1, 2))):
                self.down(self.random.randint(0, STEPS))
            faulty = bool(self.fake.faults.waiting)
            said = self.down(None)
            if said != "gone" and not faulty:
                self.lies.append(f"nothing failed any more, and down said {said}")
            self.fake.faults.clear()
            if said != "gone" and (again := self.down(None)) != "gone":
                self.lies.append(f"without faults down said {again}")
        else:
            self.plain_down()
        self.clock.advance(2 * HOUR)
        if protocol:
            self.sweep()
        return Outcome(self.leaks, self.lies, self.story)

    def scatter(self, count: int) -> None:
        """Random faults, within what the timing promises about the provider."""
        timing = self.cloud.timing()
        self.fake.faults.scatter(
            self.random, self.fake.fault_table, count, 0.9 * timing.in_flight_s, 0.9 * timing.consistency_s
        )

    def world(self, bomb: Bomb) -> Any:
        """The protocol's surroundings on the virtual clock, every step of them a place to die."""

        def sleep(seconds: float) -> None:
            bomb.tick()
            self.clock.sleep(seconds)

        records = journal().Journal(ExplosiveStore(self.store, bomb), self.name, self.clock.now)
        cloud = replace(self.cloud, drivers={k: explosive(d, bomb) for k, d in self.cloud.drivers.items()})
        return crud().World(self.target.provider, cloud, records, self.clock.now, sleep, states=(STATE,))

    def up(self) -> None:
        """Make it, and perhaps die on the way; any other failure is cleaned up by the client itself."""
        fuse = self.random.randint(0, STEPS) if self.random.random() < 0.6 else None
        world = self.world(Bomb(fuse))
        plan = plan_for(self.target, self.name, BEGIN + HOUR)
        try:
            resources = self.cloud.resources(plan, self.cloud.account())
            self.engine.up(world, resources)
            self.story.append("up: made")
        except Killed:
            self.story.append("up: killed")
        except CloudtrainError as error:
            self.story.append(f"up: {type(error).__name__}: {error.message}")

    def down(self, fuse: int | None) -> str:
        """The protocol; returns gone | left | killed | the name of another error."""
        world = self.world(Bomb(fuse))
        self.engine.world = world
        try:
            recover().recover(world, self.engine, 1)
        except Killed:
            said = "killed"
        except TeardownIncomplete as error:
            said = "left"
            self.story.append(error.message)
        except CloudtrainError as error:
            said = f"{type(error).__name__}: {error.message}"
        else:
            said = "gone"
            self.check("said to be gone")
            self.clock.advance(0.0)
        self.story.append(f"down: {said}")
        return said

    def plain_down(self) -> None:
        """What a plain cancel and destroy does."""
        self.engine.world = self.world(Bomb())
        try:
            self.engine.destroy()
        except CloudtrainError as error:
            self.story.append(f"destroy: {error.message}")
        self.clock.advance(HOUR / 6)  # what it asked for has ended by now; the guards have not fired yet
        self.check("destroyed")

    def sweep(self) -> None:
        """After the deadline: whatever is ours goes, and the ledger must be empty."""
        found = runs_sweep.look(self.store, {self.target.provider: self.cloud}, self.clock.now())
        due = [thing for answer in found for thing in answer.things if thing.why]
        left = runs_sweep.remove(self.cloud, due, self.clock.sleep)
        self.story.append(f"sweep: {len(due)} found, {len(left)} left")
        self.check("swept")

    def check(self, when: str) -> None:
        """Nothing may be there now."""
        self.leaks += [f"{when}: {words}" for words in self.fake.leftovers()]


class ExplosiveStore(LocalFolder):
    """A state folder whose client may die before and after each line of the journal."""

    def __init__(self, store: LocalFolder, bomb: Bomb) -> None:
        super().__init__(store.root)
        self.bomb = bomb

    def append(self, key: str, line: bytes) -> None:
        self.bomb.tick()
        super().append(key, line)
        self.bomb.tick()


def explosive(driver: Any, bomb: Bomb) -> Any:
    """A driver whose client may die before and after each call."""

    def around(verb: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            bomb.tick()
            answer = verb(*given)
            bomb.tick()
            return answer

        return call

    names = ("create", "find", "status", "delete")
    return driver._replace(**{name: around(getattr(driver, name)) for name in names})
