"""Starts within a budget: reserved before anything is made, never beyond the limit, given back, never forgotten."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from obstore.store import MemoryStore

from cloudtrain.errors import Cancelled, NoCapacity, NotFinished, OverBudget, UsageError
from cloudtrain.records import BudgetsRecord, ReservationRecord
from cloudtrain.runs import attempts, launch
from cloudtrain.runs.events import PlanReady
from cloudtrain.runs.record import Run
from cloudtrain.runs.spending import budget, reserve, standing
from cloudtrain.runs.spending.reserve import Funds, Wanted
from cloudtrain.runs.spending.standing import LAPSE_S
from cloudtrain.settings import now
from cloudtrain.simulator.aws import AwsCloud, s3
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import LocalFolder, write_record
from tests import chance
from tests.patience import PATIENCE_S
from tests.records import raw
from tests.runs.spending.desk import HOUR, NOON, Cloud, Killed, Mortal, furnish, offer, up

CENT = Decimal("0.01")
Limited = Callable[..., Store]


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, so that no week and no month ends within a test."""
    monkeypatch.setattr(time, "time", lambda: NOON)


@pytest.fixture
def cloud(noon: None, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The fake cloud that sessions reach."""
    made = Cloud()
    furnish(monkeypatch, made)
    return made


@pytest.fixture
def limited(noon: None, tmp_path: Path) -> Limited:
    """Make a state with limits, in a folder or a bucket."""

    def make(kind: str = "folder", **limits: Any) -> Store:
        store: Store = LocalFolder(tmp_path) if kind == "folder" else ObjectFolder("gs://states", MemoryStore())
        budget.change(store, **limits)
        return store

    return make


def reserved(store: Store, run: str) -> Decimal | None:
    """What is reserved for it."""
    kept = standing.reservation(store, run)
    return None if kept is None else round(kept.usd, 2)


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_start_reserves_what_it_may_cost(cloud: Cloud, limited: Limited, kind: str) -> None:
    """An hour at $2, before the machine is made; the next one finds that much less."""
    store = limited(kind, month_usd=Decimal(5))
    up(store, "one", offer("a", "2"))
    assert reserved(store, "one") == 2
    up(store, "two", offer("a", "3"))
    with pytest.raises(OverBudget, match=r"\$5\.00 that 2 living runs may still cost \+ \$0\.10 for this one"):
        up(store, "three", offer("a", "0.1"))
    assert cloud.most.keys() == {"one", "two"}
    assert Run(store, "three").begun is None
    assert reserved(store, "three") is None


def test_what_an_ended_run_has_not_cost_is_free_again(cloud: Cloud, limited: Limited) -> None:
    """A tenth of $4 was spent of $5."""
    store = limited(week_usd=Decimal(5))
    up(store, "one", offer("a", "4"))
    cloud.end(store, "one", Decimal("0.1"))
    up(store, "two", offer("a", "4.5"))
    with pytest.raises(OverBudget, match=r"this week: \$0\.40 spent"):
        up(store, "three", offer("a", "0.2"))


def test_over_budget_is_said_between_plan_and_question(cloud: Cloud, limited: Limited) -> None:
    """Nobody is asked about what cannot be started."""
    store, told = limited(run_usd=Decimal(1)), []
    with pytest.raises(OverBudget, match="a run"):
        up(store, "one", offer("a", "2"), emit=told.append, yes=False)
    assert [type(event) for event in told] == [PlanReady]


def test_a_dry_run_says_it_and_reserves_nothing(cloud: Cloud, limited: Limited) -> None:
    """Exit 5 as the start would; within the budget it ends well."""
    store = limited(month_usd=Decimal(3))
    assert up(store, "one", offer("a", "2"), dry_run=True) is None
    with pytest.raises(OverBudget):
        up(store, "one", offer("a", "4"), dry_run=True)
    assert store.children("reservations") == []


def test_a_run_on_this_machine_is_within_the_budget_too(
    cloud: Cloud, limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour of its electricity is reserved before it begins."""
    store, began = limited(month_usd=Decimal(1)), []
    furnish(monkeypatch, cloud, direct=True)

    def start(store: Store, plan: Any) -> Run:
        began.append((reserved(store, plan.run), plan.reserved_until))
        return Run(store, plan.run)

    monkeypatch.setattr(launch, "start", start)
    with pytest.raises(OverBudget, match=r"\$1\.20 for this one"):
        up(store, "here", offer("this machine", "1.20"))
    assert began == []
    up(store, "here", offer("this machine", "0.06"))
    assert began == [(Decimal("0.06"), pytest.approx(now() + LAPSE_S, abs=300))]


def test_a_no_reserves_nothing(cloud: Cloud, limited: Limited) -> None:
    """Nor does a question that waits."""
    store = limited(month_usd=Decimal(3))
    with pytest.raises(Cancelled):
        up(store, "one", offer("a", "2"), yes=False)
    assert store.children("reservations") == []


def test_ones_own_limit_for_the_month_counts_without_any_other(cloud: Cloud, tmp_path: Path) -> None:
    """`--budget-month`, in a state without limits."""
    store = LocalFolder(tmp_path)
    up(store, "one", offer("a", "2"))
    assert store.children("reservations") == []
    with pytest.raises(OverBudget, match=r"\+ \$1\.00 for this one = \$3\.04, over the budget of \$3\.00 a month"):
        up(store, "two", offer("a", "1"), month_usd=Decimal(3))
    up(store, "two", offer("a", "0.9"), month_usd=Decimal(3))
    assert reserved(store, "two") == Decimal("0.9")


def test_an_unknown_price_is_refused_only_under_a_limit(cloud: Cloud, limited: Limited) -> None:
    """And what costs nothing is never refused."""
    store = limited(month_usd=Decimal(3))
    with pytest.raises(OverBudget, match="price of this run is unknown"):
        up(store, "one", offer("a", None))
    budget.change(store, month_usd=Decimal(0))
    up(store, "two", offer("a", "0"))
    assert "two" in cloud.most
    assert reserved(store, "two") is None


def test_a_dearer_place_reserves_more_a_cheaper_keeps_it(cloud: Cloud, limited: Limited) -> None:
    """Restarts may cost what was agreed to."""
    store = limited(month_usd=Decimal(5))
    cloud.full = {"a", "b"}
    up(store, "one", offer("a", "2"), offer("b", "4"), offer("c", "1"))
    assert reserved(store, "one") == 4
    kept = standing.reservation(store, "one")
    assert kept is not None
    assert kept.attempt == Run(store, "one").intent.attempt == 3
    assert standing.standing(store, now()).open_usd == pytest.approx(Decimal(4), abs=CENT)


def test_a_start_that_came_to_nothing_gives_it_back(cloud: Cloud, limited: Limited) -> None:
    """No place had a machine, with proof."""
    store = limited(month_usd=Decimal(5))
    cloud.full = {"a"}
    with pytest.raises(NoCapacity):
        up(store, "one", offer("a", "2"))
    assert store.children("reservations") == []
    up(store, "two", offer("b", "5"))


def test_a_start_that_may_have_a_machine_keeps_it(
    cloud: Cloud, limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cloud gave no answer: the budget is not free until the end is proven."""
    store = limited(month_usd=Decimal(5))

    def no_answer(*given: Any) -> Any:
        raise UsageError("no answer")

    stack = launch.load("stacks", "runpod", object)  # type: ignore[type-abstract]
    monkeypatch.setattr(stack, "start", no_answer)
    with pytest.raises(UsageError):
        up(store, "one", offer("a", "4"))
    assert reserved(store, "one") == 4
    with pytest.raises(OverBudget, match="1 living run may still cost"):
        up(store, "two", offer("a", "2"))


def test_a_resumed_run_counts_all_its_machines(cloud: Cloud, limited: Limited) -> None:
    """Half of $4 is spent and $4 more may be."""
    store = limited(run_usd=Decimal(6))
    up(store, "one", offer("a", "4"))
    cloud.end(store, "one", Decimal("0.5"))
    up(store, "one", offer("a", "4"), earlier=Run(store, "one"))
    assert reserved(store, "one") == 6
    cloud.end(store, "one", Decimal(1))
    with pytest.raises(OverBudget, match=r"this run may cost \$10\.00"):
        up(store, "one", offer("a", "4"), earlier=Run(store, "one"))


def test_a_resumed_run_without_limits_loses_its_old_reservation(cloud: Cloud, limited: Limited) -> None:
    """It would hold the run's next machines to an old sum."""
    store = limited(month_usd=Decimal(5))
    up(store, "one", offer("a", "4"))
    cloud.end(store, "one", Decimal("0.5"))
    budget.change(store, month_usd=None)
    up(store, "one", offer("a", "9"), earlier=Run(store, "one"))
    assert reserved(store, "one") is None


def test_what_has_lapsed_begins_no_run(cloud: Cloud, limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that slept for an hour between the reservation and the run's record makes nothing."""
    store = limited(month_usd=Decimal(5))
    begins = now()
    monkeypatch.setattr(launch, "now", lambda: begins + LAPSE_S - 60)
    with pytest.raises(OverBudget, match="has lapsed"):
        up(store, "one", offer("a", "4"))
    assert (cloud.most, store.children("reservations")) == ({}, [])


def test_settled_reservations_are_removed_after_a_day(limited: Limited, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has looked at the runs before still finds the newer ones."""
    store = limited(month_usd=Decimal(5))
    for name, age in (("old", 25), ("new", 23)):
        made = now() - age * HOUR
        write_record(
            store, f"reservations/{name}.json", ReservationRecord(run=name, usd=Decimal(1), made=made, until=made)
        )
    Funds(store).reserve(Wanted(Run(store, "mine"), Decimal(1), now() + HOUR))
    assert store.children("reservations") == ["mine.json", "new.json"]


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_who_holds_the_lease_for_too_long_is_named(
    limited: Limited, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """101; a dead client's lease is taken over before."""
    store = limited(kind, month_usd=Decimal(5))
    monkeypatch.setattr(reserve, "WAIT_S", 0.0)
    with store.hold(reserve.LEASE), pytest.raises(NotFinished, match="process"):
        Funds(store).reserve(Wanted(Run(store, "mine"), Decimal(1), now() + HOUR))
    assert store.children("reservations") == []


def test_a_holder_that_slept_sees_the_others_reservation_and_withdraws(
    limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease was another's when it wrote: the sum is checked again after the write."""
    store = limited(month_usd=Decimal(5))
    real = reserve.record

    def sleepy(wanted: Wanted, total: Decimal, made: float) -> ReservationRecord:
        if wanted.run.id == "sleeper":
            with monkeypatch.context() as lost:
                lost.setattr(reserve, "held", lambda *_: store.hold("another"))
                Funds(store).reserve(Wanted(Run(store, "other"), Decimal(3), now() + HOUR))
        return real(wanted, total, made)

    monkeypatch.setattr(reserve, "record", sleepy)
    with pytest.raises(OverBudget):
        Funds(store).reserve(Wanted(Run(store, "sleeper"), Decimal(4), now() + HOUR))
    assert store.children("reservations") == ["other.json"]


def test_broken_limits_stop_a_start_and_nothing_else(
    cloud: Cloud, limited: Limited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a restart may cost is known without them."""
    store = limited(month_usd=Decimal(5))
    up(store, "one", offer("a", "4"))
    store.write(budget.KEY, b"{")
    with pytest.raises(UsageError, match=r"budgets\.json") as told:
        up(store, "two", offer("a", "0"))
    assert told.value.exit_code == 2
    assert standing.allowed_usd(Run(store, "one")) == pytest.approx(Decimal(4), abs=CENT)


def wave(store: Store, cloud: Cloud, names: list[str], dice: random.Random, kill: bool) -> list[BaseException | None]:
    """Eight `up` at once with random costs, each dying at a random touch of the state if asked to; how each ended."""
    ends: list[BaseException | None] = [None] * len(names)
    jobs = []
    for number, name in enumerate(names):
        last = dice.randrange(60) if kill and dice.random() < 0.7 else None
        rows = [offer(place, Decimal(dice.randrange(10, 1500)) / 100) for place in dice.sample("abcd", 2)]
        jobs.append((number, name, Mortal(store, last), rows))

    def one(number: int, name: str, view: Mortal, rows: list[Any]) -> None:
        try:
            up(view, name, *rows)
        except BaseException as error:
            ends[number] = error

    threads = [Thread(target=one, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


@pytest.mark.parametrize("kill", [False, True], ids=["all live", "some are killed"])
@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_eight_starts_at_once_never_exceed_the_budget(
    cloud: Cloud, limited: Limited, monkeypatch: pytest.MonkeyPatch, kind: str, kill: bool
) -> None:
    """Wave after wave, while runs end and places are full: what was spent and may be stays within the limit."""
    monkeypatch.setattr(reserve, "PAUSE_S", 0.005)
    monkeypatch.setattr(attempts.candidates, "remember_full", lambda *_: None)
    limit = Decimal(40)
    for world in range(chance.examples(1)):
        dice = random.Random(chance.seed(14 + world))
        cloud.most, cloud.full = {}, {"c"}
        store = limited(kind, month_usd=limit)
        store.delete("runs")
        store.delete("reservations")
        told: list[BaseException | None] = []
        for number in range(3):
            told += wave(store, cloud, [f"w{number}-{each}" for each in range(8)], dice, kill)
            assert sum(cloud.most.values()) <= limit + CENT
            for run in list(cloud.most):
                if Run(store, run).gone is None and dice.random() < 0.5:
                    cloud.end(store, run, Decimal(dice.randrange(1, 100)) / 100)
        assert all(error is None or isinstance(error, OverBudget | NoCapacity | Killed) for error in told), told
        killed = any(isinstance(error, Killed) for error in told)
        assert killed == kill
        assert killed or sum(cloud.most.values()) > limit / 2, "it refuses what would fit"
        for run in store.children("runs"):
            if Run(store, run).begun and Run(store, run).gone is None:
                cloud.end(store, run, Decimal(1))
        left = standing.standing(store, now() + LAPSE_S)
        assert (left.living, left.open_usd) == ((), 0), "a killed client blocks the budget for ever"
        assert left.month_spent_usd >= sum(cloud.most.values()) - CENT, "money was forgotten"


def take(store: Store, number: int, die: bool) -> None:
    """One process: reserve $7, and perhaps be killed between the reservation and the run's record. Ends with its code."""
    try:
        Funds(store).reserve(Wanted(Run(store, f"p{number}"), Decimal(7), now() + HOUR))
    except OverBudget as error:
        os._exit(error.exit_code)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def test_eight_processes_at_once_share_one_budget(limited: Limited) -> None:
    """A folder's lease is the system's: of eight times $7, five fit into $40; the killed ones' share stays theirs."""
    store = limited(month_usd=Decimal(40))
    fork = get_context("fork")
    clients = [fork.Process(target=take, args=(store, number, number % 3 == 0)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(PATIENCE_S)
    codes = [client.exitcode for client in clients]
    assert len(store.children("reservations")) == 5
    assert codes.count(5) == 3
    assert set(codes) <= {0, 5, -signal.SIGKILL}


@pytest.mark.soak
def test_eight_starts_at_once_share_a_budget_in_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3's conditional writes, as moto has them: five of eight fit."""
    aws = AwsCloud()
    try:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        s3.make_bucket(aws, "budgets")
        monkeypatch.setattr(reserve, "PAUSE_S", 0.02)
        store = ObjectFolder("s3://budgets/team")
        budget.change(store, month_usd=Decimal(40))
        over: list[OverBudget] = []

        def one(number: int) -> None:
            try:
                Funds(store).reserve(Wanted(Run(store, f"p{number}"), Decimal(7), now() + HOUR))
            except OverBudget as error:
                over.append(error)

        threads = [Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(store.children("reservations")), len(over)) == (5, 3)
    finally:
        aws.stop()


def test_limits_are_kept_as_they_were_set(limited: Limited) -> None:
    """A reservation touches them not."""
    store = limited(month_usd=Decimal(5))
    Funds(store).reserve(Wanted(Run(store, "mine"), Decimal(1), now() + HOUR))
    assert raw(store, budget.KEY) == {"version": 1, "month_usd": "5"}
    assert budget.read(store) == BudgetsRecord(month_usd=Decimal(5))
