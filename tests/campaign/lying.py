"""Whole runs on machines that lie: whoever is root there writes whatever the form of the ticket lets through.

Exit records, heartbeats, events, checkpoints and results of every shape, keys that are none, and the client's own
documents by name, at random moments, also after the machine is gone. Then: no leak, nothing of others touched, no exit
code that says more than the provider did, and nothing outside the machine's folder written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cloudtrain.plan import Plan
from cloudtrain.providers import Cloud, Stack, load
from cloudtrain.simulator.aws.wire import backend
from tests.campaign.clouds import TARGETS
from tests.campaign.in_process import Outcome
from tests.campaign.job_verifier import PREFIX, Verifier
from tests.campaign.job_world import BUCKET, Command, JobWorld
from tests.campaign.jobs import JobTrial, guarded
from tests.patience import until
from tests.runs.trust_world import post

CONTROL = (
    *("intent.json", "quote.json", "candidates.json", "machine.json", "gone.json", "spec.yaml", "kill", "tombstone"),
    *("client.lock", "journal.jsonl.d/1-a", "journal.jsonl.d//x", "attempts/001.json", "events.jsonl.d/1-a"),
    *("tickets/1.json", "pulumi/.pulumi/stacks/cloudtrain/x.json", "machinery", "machine.json.d/1-a"),
)
KEYS = (
    *(
        "//x",
        "../x",
        "./x",
        "log/abc",
        "log//x",
        "log/../x",
        "log/9999999999999999",
        "log/0000000000000000",
        "log/a\x01b",
    ),
    *("output//x", "output/../../intent.json", "output/a", "output/a/b", "output/w.parts", "output/w.part-00000"),
    *("output/adapter_config.json", "ckpt/LATEST", "ckpt/5/x", "ckpt/5//x", "ckpt/5/w.parts", "ckpt/5/w.part-00000"),
    *("exit.json/x", "exit.json.d/../x", "hb.json//x", "events.jsonl.d//x", "events.jsonl.d/1-a", "events.jsonl"),
    *("machine/machine/exit.json", "intent.json", "gone.json", "journal.jsonl.d/1-a", "pulumi/x.json", "x" * 900),
)
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**30, 1e308, float("inf"), float("nan"), "", "x" * 3000, "\x1b[2J\x07", [], [1], {}, 7),
    *({"a": [{}]}, "9" * 5000, 2.5, "done", "preempted"),
)
BODIES = (
    b"",
    b"[1]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b"[" * 5000,
    b"9" * 5000,
    b"x" * 200_000,
    b'{"reason": "done"}',
    b"5\n",
)
REASONS = ("done", "failed", "preempted", "deadline", "cancelled", "out_of_memory", "wrong_accelerator", "x" * 200)
TRUE_ENDS = {0, 100, 101, 103}  # of a run whose machine may say anything about how it ended


class LyingVerifier(Verifier):
    """What is left to be verified when the machine's own words are worth nothing."""

    strangers: tuple[str, ...] = ()  # what stood in the account before

    def check(self, when: str) -> None:
        """Nothing may be there now but what is another's, and that has to be."""
        there = self.world.both.leftovers()
        self.leaks += [f"{when}: {words}" for words in there if words not in self.strangers]
        self.lies += [f"{when}: {words} is gone, which is another's" for words in self.strangers if words not in there]

    def lie(self, command: Command, code: int) -> str:
        """Why a command may not have ended so."""
        return "" if code in TRUE_ENDS else "which is a defect"

    def home(self, folder: Any, when: str) -> None:
        """The result is the machine's word."""

    def log(self, logs: Command) -> None:
        """So is the log."""

    def exits(self, objects: Mapping[str, bytes]) -> dict[int, dict[str, Any]]:
        """No exit record says anything."""
        return {}

    def allowance(self) -> str:
        """Everything may end otherwise."""
        return "lies"

    def end(self, listing: Command) -> None:
        """It has come to an end, and no ticket is left."""
        begin = listing.said.find("[")
        rows = json.JSONDecoder().raw_decode(listing.said[begin:])[0] if begin >= 0 else []
        states = [row["state"] for row in rows if row["run"] == self.run]
        if not states or states[0] in ("running", "starting", "unknown"):
            self.lies.append(f"in the end it is {states}: {listing.said[-300:]}")
        self.facts += states
        if [name for name in self.objects() if name.startswith("tickets/")]:
            self.lies.append("a ticket is left")


class LyingTrial(JobTrial):
    """One schedule of lies; nothing else goes wrong in it."""

    def __init__(self, world: JobWorld, seed: int) -> None:
        super().__init__(world, seed)
        self.events = []
        self.knobs.pop("short", None)
        self.knobs["steps"] = self.steps
        self.rate = self.random.choice((0.02, 0.05, 0.15))
        self.forms: dict[str, dict[str, Any]] = {}
        self.written = 0
        self.verifier: LyingVerifier = LyingVerifier(world, self.run_name, self.knobs, self.story)
        self.others = {f"{PREFIX}other/tickets/1.json": b"theirs", "team/models/theirs/config.json": b"{}"}

    def run(self) -> Outcome:
        """The whole trial, with something of others in account and bucket."""
        shelf = backend("s3", str(self.world.both.buckets.account), "aws")
        for name, data in self.others.items():
            shelf.put_object(BUCKET, name, data)
        self.verifier.strangers = stranger(self.world)
        outcome = super().run()
        now = self.world.objects()
        for name, data in self.others.items():
            if now.get(name) != data:
                outcome.lies.append(f"{name} is another's, and was changed")
        return outcome._replace(facts=(*outcome.facts, "lies" if self.written else "no lie in time"))

    def scatter(self) -> None:
        """No faults: a wrong exit code could be theirs."""

    def look(self) -> None:
        """As always; and somebody writes."""
        super().look()
        if self.random.random() < self.rate:
            self.lie()

    def lie(self) -> None:
        """One object, by a form that somebody has or once had."""
        for name, data in self.world.objects().items():
            if name.startswith(f"{PREFIX}{self.run_name}/tickets/") and name not in self.forms:
                self.forms[name] = json.loads(data)
        if not self.forms:
            return
        ticket = self.forms[self.random.choice(sorted(self.forms))]
        form, random = ticket["post"], self.random
        if random.random() < 0.25:
            name = random.choice(CONTROL)
            status = post(form, form["prefix"].removesuffix("machine/") + name, self.body(name, ticket))
            if status != 403:
                self.verifier.lies.append(f"the machine could write {name}: {status}")
            return
        name = random.choice(("exit.json", "exit.json", "hb.json", random.choice(KEYS), random.choice(KEYS)))
        status = post(form, form["prefix"] + name, self.body(name, ticket))
        self.written += status == 204
        self.tell(f"lie: {name!r} {status}")

    def body(self, name: str, ticket: Mapping[str, Any]) -> bytes:
        """What is written: of the right shape, of a shape like it, or of none."""
        random, now = self.random, time.time()
        if random.random() < 0.3:
            return random.choice(BODIES)
        attempt = ticket["attempt"] if random.random() < 0.8 else random.choice((0, 99, "1"))
        document: dict[str, Any] = {"time": now, "attempt": attempt, "step": 3, "of": 5, "phase": "training"}
        if name.startswith("exit"):
            document |= {"code": 0, "signal": 0, "reason": random.choice(REASONS), "message": "x", "log_bytes": 0}
            document |= {"started_at": now - 9, "ended_at": random.choice((now, 0.0, now + 1e6))}
        if name.endswith(("gone.json", "intent.json")):
            document |= {"answer": "nothing", "said_by": "aws", "wanted": "up", "deadline": now + 1e6}
        for key in random.sample(sorted(document), random.choice((0, 0, 1, 3))):
            document[key] = random.choice(ODD)
        return json.dumps(document).encode()


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """The environment with these."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stranger(world: JobWorld) -> tuple[str, ...]:
    """Let a machine of somebody else's run stand in the account, for days; returns what the fake calls it."""
    target, fake = TARGETS[world.target], world.fake
    fake.machines_run = False
    with variables(fake.environment()):
        cloud = load("stacks", target.provider, Stack).cloud
        assert cloud is not None
        until = fake.clock.now() + 20 * 3600
        plan = Plan("theirs", "i", target.provider, "f", target.line, {}, "", "", until, "", (), 1.0)
        made: dict[str, Any] = {}
        for resource in cloud.resources(plan, cloud.account()):
            needs = {role: {"id": made[role].id, **made[role].outputs} for role in resource.after}
            inputs = {**resource.inputs, "needs": needs} if needs else resource.inputs
            found = cloud.drivers[resource.kind].find(inputs) if cloud.drivers[resource.kind].shared else ()
            made[resource.role] = found[0] if found else cloud.drivers[resource.kind].create(inputs)
            settle(cloud, resource.kind, inputs, made[resource.role].id)
    fake.machines_run = True
    return tuple(world.both.leftovers())


def settle(cloud: Cloud, kind: str, inputs: Mapping[str, Any], known: str) -> None:
    """Wait until what was made is there as it will be from now on."""
    until(lambda: cloud.drivers[kind].status(inputs, known).state == "ready", f"a stranger's {kind}")


def trial(world: JobWorld, seed: int) -> Outcome:
    """One schedule in a world that is emptied for it."""
    return guarded(world, LyingTrial, seed)
