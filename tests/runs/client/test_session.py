"""What a session does before a machine is rented, in which order: price, plan, consent, staging, record, start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain import settings
from cloudtrain.errors import Cancelled, NoCapacity, OverBudget, UsageError
from cloudtrain.offer import Offer, Price
from cloudtrain.plan import Plan
from cloudtrain.providers import Guard
from cloudtrain.quote.row import QuoteRow
from cloudtrain.runs import attempts, launch, live_price, reconcile
from cloudtrain.runs.client import planning, session
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.client.planning import Places
from cloudtrain.runs.client.session import Session
from cloudtrain.runs.events import Event, MachineCreated, PlaceFull, PlanReady, Question
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin, put, raw
from tests.records import row as record

HOUR = 3600.0
CAP = Decimal(3)  # US dollars, of every plan here
PLAN = Plan(
    run="mine", identity="0" * 64, provider="runpod", flavour="cpu", line=record(), job={}, spec_yaml="", data_sha256="",
    deadline=0.0, deadline_basis="a test", guards=(), flops_per_token=1.0,
)  # fmt: skip
Desk = Callable[..., "Recorder"]


def row(name: str, usd: str) -> QuoteRow:
    """A row that costs so many dollars an hour."""
    price = Price("snapshot", "2026-11-01", "", "")
    offer = Offer("runpod", name, "r", "", "cpu", 1, 1, 1, 1, "on_demand", Decimal(usd), price)
    case: Any = SimpleNamespace(hours=None, extras=SimpleNamespace(hourly_usd=Decimal("0.5")))
    return QuoteRow(offer, case, float(usd), True)


class Recorder:
    """A session whose surroundings write down what it does to them."""

    def __init__(self, store: LocalFolder, options: UpOptions, answer: bool) -> None:
        self.store, self.did, self.started = store, [], []  # type: ignore[var-annotated]
        self.answers = answer
        self.session = Session(options, settings.load(), self.emit, self.ask, machinery=self)
        self.ends_with_client = False
        self.full: set[str] = set()

    def emit(self, event: Event) -> None:
        """What a session tells."""
        if isinstance(event, PlanReady):
            self.did.append(f"plan {event.row.offer.name}, at most ${event.worst_usd:.2f}")
        elif isinstance(event, PlaceFull | MachineCreated):
            self.did.append(type(event).__name__)

    def ask(self, question: Question) -> bool:
        """What it asks."""
        self.did.append("question")
        return self.answers

    def stage(self, plan: Plan) -> Plan:
        """What a simulation does."""
        self.did.append("stage")
        return replace(plan, flavour="staged")

    def start(self, store: LocalFolder, plan: Plan, say: Any) -> Run:
        """What would rent a machine."""
        self.did.append("start")
        self.started.append(plan)
        if plan.line.offer in self.full:
            raise NoCapacity("full")
        begin(store, "mine", provider="runpod")
        return Run(store, "mine")

    def places(self, *rows: QuoteRow, earlier: Any = None) -> Places:
        """Where it may be started; `earlier` is the run that is resumed."""
        anything: Any = SimpleNamespace(model=SimpleNamespace(name="a model"))
        first = replace(PLAN, deadline=settings.now() + HOUR)
        return Places(self.store, anything, anything, rows, first, earlier)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Make a session; the machine of a row costs what it says, and half a dollar an hour for what is beside it."""
    guards = (Guard("a", alone=True), Guard("b", alone=True))
    stack = SimpleNamespace(direct=False, preview=lambda plan: (), cloud=None, guards=lambda *_: guards)
    for module in (session, planning):
        monkeypatch.setattr(module, "load", lambda *_: stack)

    def plan_for(store: Any, prepared: Any, quote: Any, row: QuoteRow, run: str, earlier: Any) -> Plan:
        line = record(offer=row.offer.name, price_usd_per_hour=row.offer.usd_per_hour)
        return replace(PLAN, run=run, line=line, max_cost=CAP)

    monkeypatch.setattr(planning, "plan", plan_for)
    monkeypatch.setattr(planning, "reachable_to_its_end", lambda store, plan, row, emit, accept_risk: plan)
    monkeypatch.setattr(session, "candidate", lambda row: record(offer=row.offer.name))
    monkeypatch.setattr(live_price, "check", lambda line, now, stale: live_price.Checked(line.price_usd_per_hour, ""))

    def make(answer: bool = True, **options: Any) -> Recorder:
        made = Recorder(LocalFolder(tmp_path), UpOptions(detach=True, **options), answer)
        keep = reconcile.keep_candidates

        def kept(*given: Any) -> None:
            made.did.append("places kept")
            keep(*given)

        monkeypatch.setattr(reconcile, "keep_candidates", kept)
        monkeypatch.setattr(launch, "start", made.start)
        return made

    return make


def test_nothing_is_staged_or_written_before_somebody_has_agreed(desk: Desk) -> None:
    """Price and plan, question, staging, the places of a restart, the start: in this order."""
    made = desk()
    made.session.start(made.places(row("a", "1.5")))
    assert made.did == ["plan a, at most $2.00", "question", "stage", "places kept", "start", "MachineCreated"]
    (plan,) = made.started
    assert (plan.flavour, plan.agreed_usd) == ("staged", pytest.approx(Decimal(2), abs=Decimal("0.01")))


def test_a_no_leaves_nothing(desk: Desk) -> None:
    """103, and the state has no run."""
    made = desk(answer=False)
    with pytest.raises(Cancelled):
        made.session.start(made.places(row("a", "1.5")))
    assert made.did == ["plan a, at most $2.00", "question"]
    assert Run(made.store, "mine").begun is None


@pytest.mark.parametrize(("second", "asked"), [("1.5", 1), ("0.5", 1), ("2.5", 2)])
def test_a_more_expensive_place_is_asked_about_again(desk: Desk, second: str, asked: int) -> None:
    """One that costs as much or less was agreed to with the first."""
    made = desk()
    made.full = {"a"}
    made.session.start(made.places(row("a", "1.5"), row("b", second)))
    assert made.did.count("question") == asked
    assert made.did.index("PlaceFull") < made.did.index(f"plan b, at most ${Decimal(second) + Decimal('0.5'):.2f}")
    assert made.started[-1].agreed_usd == pytest.approx(
        Decimal(max("1.5", second)) + Decimal("0.5"), abs=Decimal("0.01")
    )


def test_every_place_keeps_the_run_and_deadline_of_the_first(desk: Desk) -> None:
    """Which place is tried changes neither; what a restart may try is all of them."""
    made = desk(yes=True, max_restarts=7)
    made.full = {"a", "b"}
    places = made.places(row("a", "1"), row("b", "1"))
    with pytest.raises(NoCapacity, match="no place had a machine; the last answer: full"):
        made.session.start(places)
    assert {(plan.run, plan.deadline, plan.max_restarts) for plan in made.started} == {
        ("mine", places.first.deadline, 7)
    }
    assert made.did.count("question") == 0
    assert [kept["offer"] for kept in raw(made.store, "runs/mine/candidates.json")["places"]] == ["a", "b"]


def test_a_money_cap_ends_the_run_before_it_costs_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """At $2 an hour a cap of $1 is half an hour."""
    monkeypatch.setattr(attempts, "now", lambda: 1000.0)
    plan = replace(PLAN, deadline=1000.0 + HOUR, max_cost=Decimal(1), line=record(price_usd_per_hour=Decimal("1.5")))
    found = attempts.priced(plan, Decimal("0.5"), Decimal(0), accept_stale=False)
    assert found.plan.deadline == found.plan.cap_at == 1000.0 + HOUR / 2
    assert attempts.priced(plan, Decimal("0.5"), Decimal(2), accept_stale=False).plan.deadline == 1000.0
    early = attempts.priced(replace(plan, deadline=1060.0), Decimal("0.5"), Decimal(0), accept_stale=False).plan
    assert (early.deadline, early.cap_at) == (1060.0, 1000.0 + HOUR / 2)


def test_what_a_resumed_run_has_cost_counts_against_its_cap(desk: Desk) -> None:
    """Of $3 it has spent $2: at $2 an hour half an hour is left; and $3 were agreed to, all machines together."""
    made = desk()
    earlier = SimpleNamespace(spent_usd=lambda: Decimal(2))
    made.session.start(made.places(row("a", "1.5"), earlier=earlier))
    (plan,) = made.started
    assert plan.deadline == pytest.approx(settings.now() + HOUR / 2, abs=60)
    assert plan.agreed_usd == pytest.approx(Decimal(3), abs=Decimal("0.05"))


def test_no_cap_is_kept_by_a_machine_of_unknown_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, not rented without a cap."""
    plan = replace(PLAN, max_cost=Decimal(1))
    monkeypatch.setattr(live_price, "check", lambda line, now, stale: live_price.Checked(None, ""))
    with pytest.raises(OverBudget):
        attempts.priced(plan, Decimal(0), Decimal(0), accept_stale=True)


def test_a_run_that_is_not_to_teach_is_planned_so(desk: Desk) -> None:
    """--no-learn, as the demo is run."""
    for teaches in (True, False):
        made = desk(teaches=teaches)
        made.session.start(made.places(row("a", "1.5")))
        assert made.started[-1].teaches is teaches


def test_a_dry_run_shows_the_first_plan_alone(desk: Desk) -> None:
    """No question, no start, no run."""
    made = desk(dry_run=True)
    assert made.session.start(made.places(row("a", "1"), row("b", "1"))) is None
    assert made.did == ["plan a, at most $1.50"]


def test_too_few_guards_are_refused_before_anybody_is_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One guard that works alone needs an option, also with --yes."""
    lonely = SimpleNamespace(
        direct=False, preview=lambda plan: (), cloud=None, guards=lambda *_: (Guard("a", alone=True),)
    )
    made = desk(yes=True)
    monkeypatch.setattr(planning, "load", lambda *_: lonely)
    with pytest.raises(UsageError, match="only 1 guard"):
        made.session.start(made.places(row("a", "1")))
    assert "start" not in made.did


def test_what_lives_or_finished_meanwhile_is_attached_to(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine wrote that it had failed, and that it was done before anything of it was put aside."""
    made = desk(yes=True)
    begin(made.store, "mine", provider="runpod")
    put(made.store, "runs/mine/machine/exit.json", {"reason": "done", "code": 0})
    attached: list[str] = []
    monkeypatch.setattr(launch, "start", lambda store, plan, say: launch.archive_attempt(Run(store, plan.run)))
    monkeypatch.setattr(made.session, "attach", lambda run: attached.append(run.state))
    assert made.session.start(made.places(row("a", "1.5"))) is None
    assert attached == ["finished"]
