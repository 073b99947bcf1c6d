"""What one run counts, by its records alone: ended, living, possibly living, without a price, billed."""

from __future__ import annotations

import math
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import DamagedRecord
from cloudtrain.records import (
    AttemptRecord,
    BillRecord,
    BudgetsRecord,
    ExitRecord,
    GoneRecord,
    QuoteRecord,
    ReservationRecord,
)
from cloudtrain.runs.record import Run
from cloudtrain.runs.spending import standing
from cloudtrain.runs.spending.standing import LAPSE_S
from cloudtrain.state.store import LocalFolder, write_record
from tests.records import begin, machine, row

NOW = 1_794_744_000.0  # 2026-11-15T12:00:00Z
HOUR = 3600.0


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is metered of a machine that stands grows with the clock."""
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """An empty state."""
    return LocalFolder(tmp_path)


def rented(store: LocalFolder, price: str | None = "2.00", **changes: Any) -> Run:
    """A run that has begun two hours ago at $2 an hour, without a machine so far; it ends in an hour at the latest."""
    usual = {"provider": "runpod", "created": NOW - 2 * HOUR, "deadline": NOW + HOUR, "agreed_usd": Decimal(6)}
    begin(store, "mine", **{**usual, **changes})
    run = Run(store, "mine")
    line = row(provider="runpod", price_usd_per_hour=None if price is None else Decimal(price))
    run.write("quote.json", QuoteRecord(line=line, quoted_at=NOW - 2 * HOUR))
    return Run(store, "mine")


def standing_machine(run: Run) -> Run:
    """The run with a machine since two hours."""
    run.write("machine.json", machine(created=NOW - 2 * HOUR))
    return Run(run.store, run.id)


def ended(run: Run, hours_ago: float = 1.0, **gone: Any) -> Run:
    """The run, proven gone."""
    run.write("gone.json", GoneRecord(time=NOW - hours_ago * HOUR, **gone))
    return Run(run.store, run.id)


def reserve(run: Run, usd: str, attempt: int = 1, made: float = NOW) -> ReservationRecord:
    """What is reserved for it."""
    kept = ReservationRecord(run=run.id, usd=Decimal(usd), made=made, until=NOW + HOUR, attempt=attempt)
    write_record(run.store, f"reservations/{run.id}.json", kept)
    return kept


def cost(run: Run, kept: ReservationRecord | None = None, now: float = NOW) -> tuple[float | None, float | None, bool]:
    """Dollars spent, at the most, and whether it may live."""
    found = standing.account(Run(run.store, run.id), now, kept)
    spent, most = (None if each is None else round(float(each), 2) for each in found[1:3])
    return spent, most, found.lives


def test_an_ended_run_counts_what_was_metered_until_its_proof(store: LocalFolder) -> None:
    """An hour at $2, whatever its machine says of its end."""
    run = standing_machine(rented(store))
    run.write("exit.json", ExitRecord(reason="done", ended_at=NOW - 1.9 * HOUR))
    run = ended(run)
    assert cost(run) == (2.0, 2.0, False)
    assert standing.account(run, NOW).last == NOW - HOUR


def test_a_living_run_counts_the_most_it_may_cost(store: LocalFolder) -> None:
    """What was agreed to and the tolerance of a restart; with a reservation exactly that."""
    run = standing_machine(rented(store))
    assert cost(run) == (4.0, 6.12, True)
    assert cost(run, reserve(run, "6.05")) == (4.0, 6.05, True)
    assert cost(run, reserve(run, "5.00")) == (4.0, 6.0, True)  # of an earlier start: more was agreed to since


def test_a_run_that_nobody_agreed_on_counts_price_and_time(store: LocalFolder) -> None:
    """A machine without a job: $2 an hour until its deadline."""
    assert cost(standing_machine(rented(store, agreed_usd=None, idle=True))) == (4.0, 6.0, True)


def test_a_run_that_gets_another_machine_counts_whole(store: LocalFolder) -> None:
    """It was preempted and is proven gone; the next one may come."""
    run = standing_machine(rented(store, max_restarts=1))
    run.write("exit.json", ExitRecord(reason="preempted", ended_at=NOW - HOUR))
    assert cost(ended(run)) == (2.0, 6.12, True)
    run.write("intent.json", run.intent.replace(wanted="down"))
    assert cost(run) == (2.0, 2.0, False)


def test_past_its_deadline_a_run_counts_until_proven_gone(store: LocalFolder) -> None:
    """Its guards may have failed."""
    assert cost(standing_machine(rented(store, deadline=NOW - HOUR)))[2]


def test_a_killed_start_does_not_block_for_ever(store: LocalFolder) -> None:
    """After the deadline no guard lets a machine stand: it counts whole, in the windows until then."""
    run = rented(store, deadline=NOW - HOUR)
    assert cost(run, now=NOW - 2 * HOUR) == (0.0, 6.12, True)
    assert cost(run) == (6.12, 6.12, False)
    assert standing.account(run, NOW).last == NOW - HOUR


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_without_price_is_unknown_and_never_zero(store: LocalFolder, begun: bool) -> None:
    """Living and ended."""
    run = rented(store, price=None, agreed_usd=None)
    run = standing_machine(run) if begun else run
    assert cost(run)[1:] == (None, True)
    assert cost(ended(run))[:2] == (None, None)


def test_a_run_that_came_to_nothing_costs_nothing(store: LocalFolder) -> None:
    """Its client has proven it, whatever the price."""
    run = rented(store, price=None, agreed_usd=None)
    run.event("came to nothing", attempt=1)
    assert cost(ended(run)) == (0.0, 0.0, False)


def test_a_machine_that_nobody_wrote_down_counts_until_its_proof(store: LocalFolder) -> None:
    """`down` found it: it may have stood since its launch."""
    assert cost(ended(rented(store))) == (2.0, 2.0, False)


def test_all_machines_of_a_run_count(store: LocalFolder) -> None:
    """Three hours of an earlier attempt at another price."""
    run = standing_machine(rented(store, attempt=2))
    earlier = AttemptRecord(
        machine=machine(created=NOW - 9 * HOUR), gone=GoneRecord(time=NOW - 6 * HOUR),
        line=row(provider="runpod", price_usd_per_hour=Decimal(1)),
    )  # fmt: skip
    run.write("attempts/001.json", earlier)
    assert cost(ended(run)) == (5.0, 5.0, False)


@pytest.mark.parametrize(
    ("status", "usd", "counts"),
    [("final", "1.10", 1.1), ("final", "2.90", 2.9), ("final", "-1", 0.0), ("provisional", "1.10", 2.0), ("provisional", "2.90", 2.9)],
)  # fmt: skip
def test_a_bill_counts_once_it_is_final(store: LocalFolder, status: Any, usd: str, counts: float) -> None:
    """One that still rises counts where it is above what was metered."""
    run = ended(standing_machine(rented(store)))
    run.write("bill.json", BillRecord(status=status, usd=Decimal(usd), asked=NOW, source="a test"))
    assert cost(run)[0] == counts


def test_a_final_bill_makes_an_unknown_cost_known(store: LocalFolder) -> None:
    """A provisional one does not."""
    run = ended(standing_machine(rented(store, price=None)))
    for status, counts in (("provisional", None), ("final", 3.0)):
        bill: Any = {"status": status, "usd": Decimal(3), "asked": NOW, "source": "a test"}
        run.write("bill.json", BillRecord(**bill))
        assert cost(run)[0] == counts


def test_a_reservation_counts_before_its_run_has_begun_and_lapses(store: LocalFolder) -> None:
    """An hour after its client was killed, with nothing asked of a cloud."""
    run = Run(store, "mine")
    kept = reserve(run, "5")
    assert cost(run, kept, NOW + LAPSE_S - 1) == (0.0, 5.0, True)
    assert cost(run, kept, NOW + LAPSE_S) == (0.0, 0.0, False)


def test_a_reservation_of_a_resumed_run_outlives_its_old_end(store: LocalFolder) -> None:
    """The proof is of an earlier attempt: by number, not by clock."""
    run = ended(standing_machine(rented(store)))
    assert cost(run, reserve(run, "5", attempt=2, made=NOW - 9.5 * HOUR), NOW - 9 * HOUR) == (2.0, 5.0, True)
    assert cost(run, reserve(run, "5", attempt=1)) == (2.0, 2.0, False)


def test_a_run_here_counts_its_electricity(store: LocalFolder) -> None:
    """It ended after an hour; a free one counts nothing, and is known."""
    begin(store, "here", created=NOW - HOUR)
    run = Run(store, "here")
    run.write("machine.json", machine(created=NOW - HOUR, provider="local"))
    run.write("exit.json", ExitRecord(reason="done", ended_at=NOW))
    for price in ("0.06", "0"):
        run.write("quote.json", QuoteRecord(line=row(price_usd_per_hour=Decimal(price))))
        assert cost(run) == (float(price), float(price), False)
    assert standing.account(run, NOW).last == NOW


def test_a_state_is_summed_over_its_runs_and_reservations(store: LocalFolder) -> None:
    """Ended, living, and reserved without a record; the limits beside them."""
    write_record(store, "budgets.json", BudgetsRecord(month_usd=Decimal(100)))
    standing_machine(rented(store))
    reserve(Run(store, "next"), "5.00")
    found = standing.standing(store, NOW)
    assert (round(found.month_spent_usd, 2), round(found.week_spent_usd, 2)) == (4, 4)
    assert round(found.open_usd, 2) == Decimal("7.12")
    assert (found.living, found.unknown, found.damaged) == (("mine", "next"), (), ())
    assert found.limits == BudgetsRecord(month_usd=Decimal(100))


def test_a_run_that_cannot_be_read_is_named(store: LocalFolder) -> None:
    """Its cost is not zero: who starts a run is refused for it."""
    rented(store)
    store.write("runs/mine/gone.json", b"{")
    begin(store, "other")
    store.write("runs/other/intent.json", b"{")
    found = standing.standing(store, NOW)
    assert sorted(message.split("`")[1] for message in found.damaged) == [
        "runs/mine/gone.json",
        "runs/other/intent.json",
    ]


def test_a_reservation_that_cannot_be_read_is_an_error(store: LocalFolder) -> None:
    """It may be for any amount."""
    store.write("reservations/mine.json", b"{}")
    with pytest.raises(DamagedRecord, match=r"reservations/mine\.json"):
        standing.standing(store, NOW)


def test_what_a_restart_may_cost_is_what_was_reserved(store: LocalFolder) -> None:
    """Else what was agreed to, with its tolerance; a broken reservation stops no restart."""
    run = rented(store)
    assert standing.allowed_usd(run) == Decimal("6.12")
    reserve(run, "6.00")
    assert standing.allowed_usd(run) == 6
    store.write("reservations/mine.json", b"{")
    assert standing.allowed_usd(run) == 6
    assert standing.account(run, NOW).last == math.inf
