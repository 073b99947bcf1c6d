"""Clients that start runs on one state as real sessions do, in front of a fake cloud that writes down what it made.

A client can be killed at any touch of the state: nothing it does afterwards reaches the state or the cloud.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import settings
from cloudtrain.errors import NoCapacity, mark_nothing_left
from cloudtrain.offer import Offer, Price
from cloudtrain.plan import Plan
from cloudtrain.providers import Guard
from cloudtrain.quote.row import QuoteRow
from cloudtrain.records import GoneRecord, MachineRecord
from cloudtrain.runs import launch, live_price
from cloudtrain.runs.client import planning, session
from cloudtrain.runs.client.machinery import RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.client.planning import Places
from cloudtrain.runs.client.session import Session
from cloudtrain.runs.events import Emit, ignore
from cloudtrain.runs.record import Run
from cloudtrain.settings.table import Settings
from cloudtrain.state.protocol import Store
from tests.records import row as record

HOUR = 3600.0
NOON = 1_794_744_000.0  # 2026-11-15T12:00:00Z: in the middle of a week and a month
PLAN = Plan(
    run="mine", identity="0" * 64, provider="runpod", flavour="cpu", line=record(provider="runpod"), job={},
    spec_yaml="model: m\n", data_sha256="", deadline=0.0, deadline_basis="a test", guards=(), flops_per_token=1.0,
)  # fmt: skip


class Killed(BaseException):
    """kill -9."""


class Mortal:
    """A client's view of the state. At its `last` touch, and ever after, the client is dead."""

    def __init__(self, store: Store, last: int | None = None) -> None:
        self.store, self.left, self.url = store, last, store.url

    def touch(self) -> None:
        """Raises Killed when it is dead."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Killed

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any) -> Any:
            self.touch()
            return getattr(self.store, name)(*given)

        return call

    @contextlib.contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """A lease dies with its holder: it is given back in any case."""
        self.touch()
        with self.store.hold(key):
            yield


class Cloud:
    """Machines by their run: the most that each may cost, until it has ended; and what each has cost."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.most: dict[str, Decimal] = {}
        self.full: set[str] = set()

    def start(self, plan: Plan, store: Any, log: Any) -> MachineRecord:
        """Make the machine. A client that is dead reaches no cloud; one may die before the answer."""
        if isinstance(store, Mortal):
            store.touch()
        price = plan.line.price_usd_per_hour
        assert price is not None
        if plan.line.offer in self.full:
            error = NoCapacity("full")
            mark_nothing_left(error)
            raise error
        with self.lock:
            self.most[plan.run] = price * Decimal(plan.deadline - settings.now()) / 3600
        return MachineRecord(id=f"pod-{plan.run}", created=settings.now(), provider="runpod")

    def end(self, store: Store, run: str, share: Decimal) -> None:
        """End its machine after this share of its time, with proof."""
        found = Run(store, run)
        created = found.machine.created if found.machine else found.intent.created
        ended = created + float(share) * (found.intent.deadline - created)
        found.write("gone.json", GoneRecord(time=ended))
        with self.lock:
            self.most[run] = self.most.get(run, Decimal(0)) * share


def offer(name: str, usd: Decimal | str | None) -> QuoteRow:
    """A row that costs so many dollars an hour."""
    price = Price("snapshot", "2026-11-01", "", "")
    per_hour = None if usd is None else Decimal(usd)
    made = Offer("runpod", name, "r", "", "cpu", 1, 1, 1, 1, "on_demand", per_hour, price)
    case: Any = SimpleNamespace(hours=None, billed_hours=None, extras=SimpleNamespace(hourly_usd=Decimal(0)))
    return QuoteRow(made, case, float(usd or 0), True)


def furnish(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, direct: bool = False) -> None:
    """Put the fake cloud where sessions look for stacks and prices; what is shipped is left out.

    `direct`: a place with nothing to provision.
    """
    guards = (Guard("a", alone=True), Guard("b", alone=True))
    stack = SimpleNamespace(
        direct=direct, preview=lambda plan: (), cloud=None, guards=lambda *_: guards, start=cloud.start
    )
    for module in (session, planning, launch):
        monkeypatch.setattr(module, "load", lambda *_: stack)

    def plan_for(store: Any, prepared: Any, quote: Any, row: QuoteRow, run: str, earlier: Any) -> Plan:
        line = record(provider="runpod", offer=row.offer.name, price_usd_per_hour=row.offer.usd_per_hour)
        return replace(PLAN, run=run, identity=run, line=line)

    monkeypatch.setattr(planning, "plan", plan_for)
    monkeypatch.setattr(planning, "reachable_to_its_end", lambda store, plan, row, emit, accept_risk: plan)
    monkeypatch.setattr(session, "candidate", lambda row: record(provider="runpod", offer=row.offer.name))
    monkeypatch.setattr(live_price, "check", lambda line, now, stale: live_price.Checked(line.price_usd_per_hour, ""))
    monkeypatch.setattr(launch, "rented_part", lambda run, plan: (plan, {"agreed_usd": plan.agreed_usd}))


def up(
    store: Any, run: str, *rows: QuoteRow, emit: Emit = ignore, earlier: Run | None = None, **options: Any
) -> Run | None:
    """One `up --yes --detach` of a run that may take an hour."""
    asked = UpOptions(**{"detach": True, "yes": True, **options})
    made = Session(asked, Settings._make(settings.load()), emit, ask=lambda question: False, machinery=RealClouds())
    anything: Any = SimpleNamespace(model=SimpleNamespace(name="a model"))
    first = replace(PLAN, run=run, deadline=settings.now() + HOUR)
    return made.start(Places(store, anything, anything, rows, first, earlier))
