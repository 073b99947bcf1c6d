"""Whole runs under random schedules: real machines, a real bucket, clients that die; then a person looks after it."""

from __future__ import annotations

import json
import time
import traceback
from random import Random
from typing import Any

from cloudtrain.providers import Stack, load
from tests.campaign.chaos import Chaos, Event, draw
from tests.campaign.clouds import TARGETS
from tests.campaign.fork_server import kill
from tests.campaign.in_process import HOUR, Outcome
from tests.campaign.job_verifier import Verifier
from tests.campaign.job_world import Command, JobWorld
from tests.patience import PATIENCE_S

TICK_S = 0.03
HERE = "here"  # the machine of whoever began the run, and of half of the others
SHORT = {"gce": 0.04, "runpod": 0.04}  # how many runs have no time to finish; a machine of EC2 counts in minutes
SHORT_S = 40  # Google makes no machine for less than 30 s, and no flex-start slice for less than 10 minutes
OVER_S = 600.0  # within which a run comes to its end, once nothing troubles it
COMMAND_S = PATIENCE_S  # the longest that a command may take
LATER = ("poll", "poll", "poll --finish", "up", "up", "attach", "down", "wait --timeout 3s")


class JobTrial:
    """One schedule."""

    def __init__(self, world: JobWorld, seed: int) -> None:
        self.world, self.random, self.run_name = world, Random(seed), f"job-{seed}"
        self.story: list[str] = []
        self.steps = self.random.randint(8, 30)
        self.knobs: dict[str, Any] = {
            "steps": self.steps,
            "pause_s": round(self.random.uniform(0.02, 0.15), 3),
            "every": self.random.randint(2, 8),
            "seed": seed,
        }
        if self.random.random() < 0.05:
            self.knobs["fail"] = self.random.choice((65, 1))
        self.knobs["restarts"] = self.random.choice((3, 3, 3, 1, 0))
        if self.random.random() < SHORT.get(world.name, 0.0):
            self.knobs |= {"short": True, "steps": 400}
        self.events = draw(self.random, self.steps)
        self.chaos = Chaos(world, self.random)
        self.began = time.monotonic()
        self.machine_at: float | None = None
        self.alive: list[Command] = []
        self.verifier = Verifier(world, self.run_name, self.knobs, self.story)

    def run(self) -> Outcome:
        """The whole trial."""
        fake = self.world.fake
        fake.room.environment["FAKE_TRAINER"] = json.dumps(self.knobs)
        if self.random.random() < 0.6:
            self.scatter()
        self.story.append(f"trainer {self.knobs}, events {[tuple(e) for e in self.events]}")
        self.story.append(f"faults {[(f.call, f.kind, f.times) for f in fake.faults.waiting]}")
        market = self.random.choice(self.world.rental.markets)
        self.up_words = ("up", *self.world.rental.words, market, "-y", "--accept-stale", "--experimental")
        self.up_words += ("--max-hours", f"{SHORT_S}s" if "short" in self.knobs else "1h")
        self.up_words += ("--max-restarts", str(self.knobs["restarts"]))
        owner = self.world.person(HERE)
        detached = ("--detach",) if self.random.random() < 0.15 else ()
        self.up_words += ("--name", self.run_name)
        self.give(owner, *self.up_words, *detached)
        self.pass_time(until_quiet=True)
        self.look_after()
        self.finish()
        if self.verifier.leaks or self.verifier.lies:
            self.story += self.verifier.papers()
        facts = (*self.verifier.facts, *self.verifier.happened, *(f"fault {kind}" for kind in self.verifier.kinds()))
        if self.verifier.machines > 1:
            facts = (*facts, "several machines")
        return Outcome(self.verifier.leaks, self.verifier.lies, self.story, facts)

    def scatter(self) -> None:
        """Random faults of the cloud, within what the timing promises."""
        cloud = load("stacks", TARGETS[self.world.target].provider, Stack).cloud
        assert cloud is not None
        self.world.fake.faults.scatter(self.random, self.world.fake.fault_table, self.random.randint(1, 3), 2.5, 0.25)

    def tell(self, words: str) -> None:
        """A line of the story."""
        self.story.append(f"{time.monotonic() - self.began:6.2f} {words}")

    def give(self, person: Any, *words: str) -> Command:
        """Somebody begins a command."""
        begun = self.verifier.begun()
        command: Command = person.give(*words)
        command.begun = begun
        command.troubles = self.world.happened()
        for each in (*self.alive, command):
            each.alone = each.alone and not self.alive
        self.alive.append(command)
        self.tell(f"{command.process.pid} {' '.join(words)}")
        return command

    def pass_time(self, until_quiet: bool = False, seconds: float = 0.0) -> None:
        """Let things happen for so long, or until no command is left."""
        give_up = time.monotonic() + (COMMAND_S if until_quiet else seconds)
        while (self.alive if until_quiet else True) and time.monotonic() < give_up:
            time.sleep(TICK_S)
            self.look()
        if until_quiet:
            for command in self.alive:
                command.process.kill()
                self.verifier.lies.append(f"`{' '.join(command.words)}` hung: {command.said[-600:]}")
            self.alive.clear()

    def look(self) -> None:
        """Commands that ended are verified, events that are due happen."""
        now = time.monotonic() - self.began
        self.chaos.lighten(now)
        for command in [each for each in self.alive if each.process.poll() is not None]:
            self.alive.remove(command)
            self.tell(f"{command.process.pid} {command.words[0]} ended with {command.process.code}")
            self.verifier.command(command, bool(self.alive))
        if self.machine_at is None and self.world.fake.room.running:
            self.machine_at = now
        self.verifier.machines = len({*self.world.fake.room.running, *self.world.fake.room.ended})
        for event in [each for each in self.events if self.is_due(each, now)]:
            if (words := self.happen(event, now)) is not None:
                self.events.remove(event)
                self.verifier.happened.append(event.what)
                for each in self.alive:
                    each.alone = False
                self.tell(words)

    def is_due(self, event: Event, now: float) -> bool:
        """Whether the moment of the event has come."""
        if event.after == "start":
            return now >= event.number
        if self.machine_at is None:
            return False
        if event.after == "machine":
            return now >= self.machine_at + event.number
        return self.verifier.step() >= event.number

    def happen(self, event: Event, now: float) -> str | None:
        """Let it happen; None when it cannot happen yet."""
        what = event.what
        if what in ("blackout", "bucket fault"):
            return self.chaos.to_bucket(what, now)
        if what in ("down", "poll", "up", "attach"):
            self.come(what)
            return f"somebody else: {what}"
        if what == "kill request":
            return self.request_kill()
        if what in ("kill client", "kill engine", "kill both"):
            return self.kill_client(what)
        return self.chaos.to_machine(what)

    def request_kill(self) -> str | None:
        """Somebody writes the request to stop into the bucket."""
        from cloudtrain.simulator.aws.wire import backend

        if not any(name.endswith(f"runs/{self.run_name}/intent.json") for name in self.world.objects()):
            return None
        buckets = self.world.both.buckets
        backend("s3", str(buckets.account), "aws").put_object(
            "bucket-state", f"team/runs/{self.run_name}/kill", b"down\n"
        )
        return "kill request in the bucket"

    def kill_client(self, what: str) -> str | None:
        """SIGKILL to a client, to its engine, or to both."""
        if not self.alive:
            return None if self.verifier.begun() else "no client to kill"
        command = self.random.choice(self.alive)
        killed = []
        if what != "kill engine":
            command.killed = True
            command.process.kill()
            killed.append(f"client {command.process.pid}")
        if what != "kill client":
            for pid in command.person.engines():
                if kill(pid):
                    killed.append(f"engine {pid}")
        return f"killed {killed}"

    def come(self, what: str) -> None:
        """Somebody with an empty home gives a command."""
        words = what.split()
        person = self.world.person(HERE if self.random.random() < 0.5 else "")
        if words[0] == "up":
            self.give(person, *self.up_words)
        else:
            self.verifier.happened.append(words[0])
            self.give(person, words[0], self.run_name, *words[1:])

    def look_after(self) -> None:
        """People come and go."""
        for _ in range(self.random.choice((0, 1, 1, 2, 3))):
            if self.random.random() < 0.4:
                self.pass_time(seconds=self.random.uniform(0.0, 2.5))
            self.come(self.random.choice(LATER))
            self.pass_time(until_quiet=True)

    def finish(self) -> None:
        """No more trouble: `poll --finish` until it is over, `down`, then the deadline and a sweep."""
        self.events.clear()
        self.chaos.lighten(float("inf"))
        for each in self.world.faults():
            each.clear()
        self.verifier.calm = True
        person = self.world.person(HERE if self.random.random() < 0.5 else "")
        if self.verifier.begun():
            self.bring_home(person)
            self.end(person)
            self.verifier.machines = len(self.world.fake.room.ended)
            self.verifier.log(self.command(person, "logs", self.run_name))
            self.verifier.end(self.command(person, "ps", "-a", "-o", "json"))
        elif not self.verifier.allowance():
            self.verifier.lies.append("nothing kept it from its beginning, and there is no run")
        self.world.fake.clock.advance(2 * HOUR)
        person.environment["CLOUDTRAIN_NOW"] = str(self.world.fake.clock.now())
        self.command(person, "sweep", "--yes", "--provider", TARGETS[self.world.target].provider)
        self.verifier.check("swept")
        self.verifier.secrets()

    def bring_home(self, person: Any) -> None:
        """`poll --finish` until it says that the run is over; what it says in the end is verified like any other word."""
        give_up = time.monotonic() + OVER_S
        while (code := self.command(person, "poll", self.run_name, "--finish").process.code) in (6, 101):
            if time.monotonic() > give_up:
                self.verifier.lies.append("the run did not come to an end")
                return
            if code == 6:
                self.end(person)
            self.pass_time(seconds=0.3)

    def end(self, person: Any) -> None:
        """`down`, and what its hint says when a client of a machine that is dead now was on it."""
        ended = self.command(person, "down", self.run_name)
        if ended.process.code == 6:
            self.command(person, "down", "--force", self.run_name)

    def command(self, person: Any, *words: str) -> Command:
        """One command to its end."""
        command = self.give(person, *words)
        self.pass_time(until_quiet=True)
        return command


def trial(world: JobWorld, seed: int) -> Outcome:
    """One schedule in a world that is emptied for it."""
    return guarded(world, JobTrial, seed)


def guarded(world: JobWorld, kind: type[JobTrial], seed: int) -> Outcome:
    """A schedule of this kind; one that breaks counts as a lie."""
    world.begin()
    begun = kind(world, seed)
    try:
        return begun.run()
    except Exception:
        return Outcome([], [f"the trial broke: {traceback.format_exc()}", *begun.verifier.lies], begun.story)
    finally:
        world.end()
