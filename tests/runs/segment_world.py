"""A cloud without machines of its own for runs that take days: in-process machines on a clock that is moved.

A machine has what a real one has, its ticket and what the addresses in it let it do, against a fake bucket that checks
every one of them by the same clock. It trains a toy whose every step depends on all before, and really checkpoints.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from cloudtrain import settings
from cloudtrain.offer import Offer, Price
from cloudtrain.plan import Plan
from cloudtrain.providers import DeletionProof, Stack, load
from cloudtrain.quote.row import QuoteRow
from cloudtrain.records import MachineRecord, RowRecord
from cloudtrain.records.row import CostPartRecord
from cloudtrain.runs import live_price, remote
from cloudtrain.runs.client import planning, session
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.client.planning import Places
from cloudtrain.runs.client.session import Session
from cloudtrain.runs.events import Event
from cloudtrain.runs.poll import Polled, PollOptions, poll
from cloudtrain.runs.record import Run
from cloudtrain.signing import urls
from cloudtrain.simulator.clock import Clock
from cloudtrain.state import credentials
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import open_store
from tests.patience import PATIENCE_S
from tests.records import row as record
from tests.runs.trust_world import post

BEGIN, HOUR = 1_795_600_000.0, 3600.0
BOOT_S, STEP_S, SAVE_S, EVERY = 600.0, 1200.0, 120.0, 5
STEPS = 90  # 30 hours
USD = Decimal("2.00")


def trained(state: dict[str, float], step: int) -> dict[str, float]:
    """The toy: descent with momentum towards an aim that moves; what a checkpoint holds is all of it."""
    slope = state["weight"] - (step * 7919 % 101) / 101
    speed = 0.9 * state["speed"] - 0.05 * slope
    return {"weight": state["weight"] + speed, "speed": speed, "loss": slope * slope}


START = {"weight": 1.0, "speed": 0.0, "loss": 0.0}


def in_one_piece(steps: int = STEPS) -> list[tuple[int, float]]:
    """Step and loss of every step of a run that nothing interrupts."""
    state, found = START, []
    for step in range(1, steps + 1):
        state = trained(state, step)
        found.append((step, state["loss"]))
    return found


def fetched(url: str) -> bytes | None:
    """What an address gives; None for a refusal."""
    try:
        with urlopen(url, timeout=PATIENCE_S) as answer:
            data: bytes = answer.read()
            return data
    except HTTPError:
        return None


class Machine:
    """One machine, from its creation to its end."""

    def __init__(self, clock: Clock, plan: Plan, steps: int) -> None:
        self.clock, self.plan, self.began, self.stands = clock, plan, clock.now(), True
        self.steps = steps
        address = urls.ticket_url({"boot": plan.boot, "expires": plan.deadline})
        self.ticket: dict[str, Any] = json.loads(fetched(address) or b"null")
        self.log_bytes = int(self.ticket["log_bytes"])
        self.refused: list[str] = []  # what its addresses did not let it do

    def write(self, name: str, data: bytes) -> None:
        """An object below the run's prefix."""
        form = self.ticket["post"]
        if post(form, form["prefix"] + name, data) not in (200, 204):
            self.refused.append(f"{name} at {self.clock.now() - self.began:.0f} s")

    def say(self, **event: Any) -> None:
        """A line of the log, at once."""
        line = json.dumps({"time": self.clock.now(), **event}).encode() + b"\n"
        self.write(f"log/{self.log_bytes:016d}", line)
        self.log_bytes += len(line)

    def end(self, reason: str, code: int) -> None:
        """The exit record, and then nothing."""
        now = self.clock.now()
        record = {"code": code, "signal": 0, "reason": reason, "message": "", "started_at": self.began, "ended_at": now}
        self.write(
            "exit.json", json.dumps({**record, "attempt": self.plan.attempt, "log_bytes": self.log_bytes}).encode()
        )
        self.stands = False

    def save(self, step: int, state: dict[str, float]) -> None:
        """A checkpoint; LATEST last."""
        self.write(f"ckpt/{step}/state.json", json.dumps(state).encode())
        self.write("ckpt/LATEST", str(step).encode())

    def train(self, lost_after: int | None = None) -> None:
        """To the end of the training or of the machine's time; or until it vanishes after so many steps."""
        self.clock.advance(BOOT_S)
        step, state = 0, START
        if self.ticket["resume"]:
            (file,) = self.ticket["resume"]["files"]
            step, state = self.ticket["resume"]["step"], json.loads(fetched(file["url"]) or b"null")
        first = step
        while step < self.steps:
            if self.clock.now() + STEP_S > self.plan.deadline - SAVE_S:
                self.save(step, state)
                self.clock.advance(self.plan.deadline - self.clock.now())
                return self.end("deadline", 75)
            self.clock.advance(STEP_S)
            step += 1
            state = trained(state, step)
            self.say(event="step", step=step, of=self.steps, loss=state["loss"])
            if step % EVERY == 0:
                self.save(step, state)
            if lost_after is not None and step - first == lost_after:
                self.stands = False
                return None
        self.write("output/adapter_config.json", json.dumps(state).encode())
        self.write("output/metrics.json", json.dumps({"steps": step}).encode())
        return self.end("done", 0)


class SegmentWorld:
    """Machines, a state in a bucket, and one run of 30 hours."""

    def __init__(self, state: str, clock: Clock, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.state, self.clock, self.folder = state, clock, folder
        self.machines: list[Machine] = []
        self.steps = STEPS
        self.events: list[Event] = []
        patch.setattr(time, "time", clock.now)
        patch.setattr(credentials, "LOOK_AGAIN_S", 0.0)  # the bucket's client keeps them by the real time
        patch.setenv("CLOUDTRAIN_STATE", state)
        stack = load("stacks", "aws", Stack)
        stub = stack._replace(start=self.start, stop=self.stop, alive=lambda machine: self.machines[-1].stands, find=None,
            preview=lambda plan: (), list_owned=lambda: (),
        )  # fmt: skip
        patch.setattr(import_module("cloudtrain.stacks.aws"), "provider", stub)
        patch.setattr(live_price, "check", lambda line, now, stale: live_price.Checked(line.price_usd_per_hour, ""))
        patch.setattr(session, "candidate", lambda row: self.line())
        (folder / "data.jsonl").write_text('{"text": "hello"}\n')

    def start(self, plan: Plan, store: Store, log: Callable[[str], None]) -> MachineRecord:
        """What the stack does."""
        self.machines.append(Machine(self.clock, plan, self.steps))
        return MachineRecord(id=f"i-{len(self.machines)}", created=self.clock.now(), provider="aws", place="us-east-1a")

    def stop(self, run: str, store: Store, how: Any) -> DeletionProof:
        """The same."""
        self.machines[-1].stands = False
        return DeletionProof("aws", "nothing of it", self.clock.now())

    def line(self) -> RowRecord:
        """The place, at its price."""
        part = CostPartRecord(name="compute", quantity=Decimal(30), unit="hours", unit_usd=USD)
        return record(
            provider="aws", offer="m7i.large", region="us-east-1", market="on_demand", price_usd_per_hour=USD,
            cost_parts=(part,),
        )  # fmt: skip

    def plan(self, hours: float) -> Plan:
        """Of the run, with its own deadline."""
        job = {"model": "org/name", "data": {"path": str(self.folder / "data.jsonl")}, "checkpoint": {"every": EVERY}}
        return Plan(
            run="mine", identity="0" * 64, provider="aws", flavour="cpu", line=self.line(), job=job, spec_yaml="model: m\n",
            data_sha256="", deadline=BEGIN + hours * HOUR, deadline_basis="1.5 x the quoted worst case", guards=(),
            flops_per_token=1.0,
        )  # fmt: skip

    def store(self) -> Store:
        """The state, as a new process opens it."""
        return open_store(self.state)

    def up(self, patch: pytest.MonkeyPatch, hours: float = 200.0, **options: Any) -> Run:
        """`up -d -y`: the first machine stands."""
        plan = self.plan(hours)
        patch.setattr(planning, "plan", lambda *_: plan)
        price = Price("snapshot", "2026-11-01", "", "")
        offer = Offer("aws", "m7i.large", "us-east-1", "", "cpu", 1, 1, 1, 1, "on_demand", USD, price)
        likely: Any = SimpleNamespace(low=28.0, likely=30.0, high=36.0)
        case: Any = SimpleNamespace(hours=likely, extras=SimpleNamespace(hourly_usd=Decimal(0)))
        row = QuoteRow(offer, case, float(USD), True)
        anything: Any = SimpleNamespace(model=SimpleNamespace(name="a model"))
        wanted = UpOptions(detach=True, yes=True, **options)
        run = Session(wanted, settings.load(), self.events.append).start(
            Places(self.store(), anything, anything, (row,), plan, None)
        )
        assert run is not None
        return run

    def poll(self) -> Polled:
        """One look of a new process."""
        (found,) = poll(self.store(), "mine", False, PollOptions(True, self.folder / "home"), self.events.append).polled
        return found

    def run(self) -> Run:
        """Its records as they are now."""
        return Run(self.store(), "mine")

    def losses(self) -> list[tuple[int, float]]:
        """Step and loss of every line of the whole log."""
        lines = b"".join(remote.blocks(self.run(), 0, None)).splitlines()
        return [(event["step"], event["loss"]) for event in map(json.loads, lines) if event["event"] == "step"]

    def check_addresses(self) -> None:
        """No machine was refused anything, and none had a deadline past what its addresses are good for."""
        assert [each.refused for each in self.machines] == [[] for _ in self.machines]
