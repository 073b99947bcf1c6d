"""Which run gets another machine, where it is looked for, at what price; and what a rented run's account counts."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import NoCapacity, OverBudget, UsageError
from cloudtrain.plan import Plan
from cloudtrain.providers import DeletionProof, StopOptions
from cloudtrain.records import AttemptRecord, BundleRecord, ExitRecord, GoneRecord, QuoteRecord, RowRecord
from cloudtrain.runs import launch, live_price, reconcile, teardown
from cloudtrain.runs.events import ignore
from cloudtrain.runs.metering import machine_of
from cloudtrain.runs.record import Run
from cloudtrain.runs.remote import Pace
from cloudtrain.runs.transfer import hub_token
from cloudtrain.state.store import LocalFolder
from tests.records import begin, machine, row


def line(offer: str, zone: str = "a", price: str = "1.00") -> RowRecord:
    """A place: machine, zone, price per hour."""
    return row(
        provider="aws",
        offer=offer,
        region="r",
        zone=zone,
        market="spot",
        price_usd_per_hour=Decimal(price),
        beside_usd_per_hour=Decimal("0.10"),
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose first machine was preempted after an hour and is proven gone."""
    made = Run(LocalFolder(tmp_path), "mine")
    now = time.time()
    rented = {"model": "m", "max_restarts": 1, "agreed_usd": Decimal("4.00"), "max_cost_usd": None}
    bundle = BundleRecord(key="b", sha256="0", bytes=1)
    begin(made.store, "mine", provider="aws", attempt=1, deadline=now + 7200, bundle=bundle, **rented)
    made.write("quote.json", QuoteRecord(line=line("first"), flops_per_token=1.0))
    made.write("machine.json", machine(id="i-1", place="r", created=now - 3600))
    made.write("exit.json", ExitRecord(reason="preempted", ended_at=now - 10))
    made.write("gone.json", GoneRecord(time=now))
    made.store.write("runs/mine/spec.yaml", b"model: m\n")
    return Run(made.store, "mine")


def changed(run: Run, **more: Any) -> Run:
    """The run with something else wanted of it."""
    run.write("intent.json", Run(run.store, run.id).intent.replace(**more))
    return Run(run.store, run.id)


def ended(run: Run, reason: str) -> Run:
    """The run with another end of its machine."""
    assert run.exit is not None
    run.write("exit.json", run.exit.replace(reason=reason))
    return Run(run.store, run.id)


def test_a_preempted_run_wants_another_machine(run: Run) -> None:
    """And so does one whose machine vanished."""
    assert reconcile.wants_another(run)
    run.store.delete("runs/mine/machine/exit.json")
    assert reconcile.wants_another(Run(run.store, "mine"))


def test_nobody_else_gets_another_machine(run: Run) -> None:
    """Done, failed, ended on request, out of restarts, out of time, not proven gone: none of these."""
    for reason in ("done", "bad_data", "deadline", "cancelled", "no_weights"):
        assert not reconcile.wants_another(ended(run, reason))
    run = ended(run, "preempted")
    for field, value in (("wanted", "down"), ("max_restarts", 0), ("deadline", time.time() + 30), ("idle", True)):
        was = getattr(run.intent, field)
        assert not reconcile.wants_another(changed(run, **{field: value}))
        run = changed(run, **{field: was})
    run.store.delete("runs/mine/gone.json")
    assert not reconcile.wants_another(Run(run.store, "mine"))


def test_a_token_stays_while_another_machine_may_come(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that follows has to fetch the weights too; when none does, it is deleted with the last one."""
    stack = SimpleNamespace(
        name="aws", direct=False, stop=lambda *_: DeletionProof("aws", "nothing of it", time.time())
    )
    monkeypatch.setattr(Run, "stack", stack)
    hub_token.keep(run, "hf_PlantedSecret")
    teardown.down(run, wanted=False)
    assert hub_token.key(run)
    teardown.down(ended(run, "no_weights"), wanted=False)
    assert hub_token.key(run) is None
    hub_token.keep(run, "hf_PlantedSecret")
    teardown.down(ended(run, "preempted"), StopOptions(0.0, force=True))
    assert hub_token.key(run) is None


def test_the_same_offer_elsewhere_comes_before_another_offer(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place that took the machine away is asked last."""
    reconcile.keep_candidates(run.store, "mine", [line("first"), line("other"), line("first", "b"), line("other", "b")])
    asked = []

    def refuse(store: object, plan: Plan, say: object) -> Run:
        asked.append((plan.line.offer, plan.line.zone))
        raise NoCapacity("full")

    monkeypatch.setattr(launch, "start", refuse)
    monkeypatch.setattr(live_price, "ask", lambda line: (None, "not asked"))
    with pytest.raises(NoCapacity):
        reconcile.reconcile(run, "", ignore)
    assert asked == [("first", "b"), ("other", "a"), ("other", "b"), ("first", "a")]


def test_a_dearer_machine_than_was_agreed_to_is_not_rented(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour at $1 is spent and two are left: $1.40 an hour fits into $4, $1.60 does not."""
    monkeypatch.setattr(live_price, "ask", lambda line: (None, "not asked"))
    plan = reconcile.plan_again(run)
    assert reconcile.agreed_plan(run, plan, line("x", price="1.30")).line.price_usd_per_hour == Decimal("1.30")
    with pytest.raises(OverBudget):
        reconcile.agreed_plan(run, plan, line("x", price="1.50"))


@pytest.mark.parametrize("accepted", [False, True])
def test_a_machine_that_follows_needs_a_known_end_too(
    run: Run, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    """Unless the risk was accepted when the run was begun: its record says so."""
    monkeypatch.setattr(live_price, "ask", lambda line: (None, "not asked"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "PLANTED-TOKEN")
    plan = reconcile.plan_again(changed(run, accept_risk=accepted))
    there: Any = SimpleNamespace(id="mine", intent=run.intent, spent_usd=run.spent_usd)
    there.store = SimpleNamespace(url="s3://bucket-x/team", read=run.store.read)
    if accepted:
        assert reconcile.agreed_plan(there, plan, line("x")).accept_risk
        return
    with pytest.raises(UsageError, match="do not say until when"):
        reconcile.agreed_plan(there, plan, line("x"))


def test_a_money_cap_brings_the_deadline_forward(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first machine cost is gone for the second."""
    monkeypatch.setattr(live_price, "ask", lambda line: (None, "not asked"))
    plan = reconcile.plan_again(changed(run, max_cost_usd=Decimal("2.10")))
    assert reconcile.agreed_plan(run, plan, line("x")).deadline == pytest.approx(time.time() + 3600, abs=120)


@pytest.mark.parametrize(
    ("ended_at", "gone_at", "deadline", "seconds"),
    [
        (None, 900.0, 5000.0, 900.0),  # until its end was proven
        (None, 9000.0, 5000.0, 5000.0),  # at the longest until its guards fired
        (300.0, 4000.0, 5000.0, 420.0),  # it ended itself after its last word, however late somebody looked
        (-50.0, 900.0, 5000.0, 900.0),  # its clock was wrong
    ],
)
def test_a_rented_machine_is_billed_until_its_end(
    ended_at: float | None, gone_at: float, deadline: float, seconds: float
) -> None:
    """Seconds from its creation at 1000."""
    attempt = AttemptRecord(
        machine=machine(created=1000.0),
        exit=None if ended_at is None else ExitRecord(reason="done", ended_at=1000 + ended_at),
        gone=GoneRecord(time=1000 + gone_at),
        deadline=1000 + deadline,
    )
    found = machine_of(attempt, line("x"), direct=False)
    assert found is not None
    assert found.seconds == pytest.approx(seconds)
    assert found.usd_per_hour == Decimal("1.00")


def test_a_day_of_requests_costs_less_than_ten_cents() -> None:
    """Writer and reader together, at Amazon's $0.005 for a thousand writes and $0.0004 for a thousand reads."""
    day, pace = 86400.0, Pace()
    writes = day / 10 + day / pace.heartbeat_s + 6 * day / 300  # log, heartbeats, checkpoints of six files
    reads = (
        day / pace.log_s + day / pace.exit_s + day / pace.heartbeat_s + day / pace.heartbeat_s
    )  # and the kill request
    assert writes * 0.005 / 1000 + reads * 0.0004 / 1000 < 0.10
