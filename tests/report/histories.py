"""Histories for tests: accounts and nights as a state would hold them, drawn from a seed or written down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from cloudtrain.records import NightRecord
from cloudtrain.report.budget import Budget
from cloudtrain.report.cost_report import CostReport
from cloudtrain.report.history import History, put_together

DAY_S = 86400.0
LAST = datetime(2026, 11, 30, tzinfo=UTC)
NOW = LAST.timestamp() + 12 * 3600.0
ZONE = "UTC"
MACHINES = {"gcp": "n2-highmem-32 in europe-west4", "runpod": "AMD Instinct MI300X OAM x1", "aws": "c7i.48xlarge spot"}


def account(run: str, **changes: Any) -> CostReport:
    """A finished run that was quoted $4 to $6 and took $5."""
    usual: dict[str, Any] = {
        "run": run,
        "state": "finished",
        "provider": "runpod",
        "offer": MACHINES["runpod"],
        "started_at": NOW - DAY_S,
        "ended_at": NOW - DAY_S / 2,
        "quoted": (),
        "metered": (),
        "quoted_usd": {"low": "4", "likely": "5", "high": "6"},
        "quoted_hours": {"low": 1.5, "likely": 2.0, "high": 3.0},
        "metered_s": 7200.0,
        "attempts": 1,
        "tokens": 5_000_000,
        "steps": 600,
        "quoted_tokens_per_second": {"low": 500.0, "likely": 700.0, "high": 900.0},
        "measured_tokens_per_second": 710.0,
        "estimated_bytes": 1 << 34,
        "measured_bytes": 1 << 33,
        "loss": 1.25,
        "price": {"usd_per_hour": "2.5"},
        "machines": costing("5"),
        "spec": "llama-3.1-8b-qlora",
    }
    return CostReport(**{**usual, **changes})


def costing(usd: str | None) -> tuple[Any, ...]:
    """Machines that cost so much; None: nobody knows their price."""
    from cloudtrain.runs.metering import Machine

    price = None if usd is None else Decimal(usd)
    return (Machine("m-1", "m", "here", 3600.0, price, "done"),)


def night(date: str, outcome: str = "finished", run: str = "", **changes: Any) -> NightRecord:
    """A night that was due at 01:17 UTC."""
    due = datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp() + 4620.0
    return NightRecord(**{"date": date, "due": due, "begun": due + 60, "outcome": outcome, "run": run, **changes})


def history(
    accounts: list[CostReport],
    nights: list[tuple[str, NightRecord]] | None = None,
    budget: Budget | None = None,
    faults: tuple[str, ...] = (),
) -> History:
    """A history of these, made at NOW."""
    newest_first = sorted(accounts, key=lambda each: each.started_at or 0, reverse=True)
    return put_together(NOW, ZONE, newest_first, nights or [], budget, faults)


def budget(**changes: Any) -> Budget:
    """$60 a week and $150 a month, of which some is spent and some may still come."""
    usual = Budget(Decimal(60), Decimal(150), Decimal("31.4"), Decimal("118.07"), Decimal("8.5"), 0)
    return usual._replace(**changes)


def year(count: int = 365, seed: int = 1) -> History:
    """So many nights up to LAST, of two schedules, with everything that can happen to one."""
    chosen, accounts, nights = Random(seed), [], []
    for number in range(count):
        day = LAST - timedelta(days=count - 1 - number)
        schedule = "llama-nightly" if number % 7 else "weekly-eval"
        run, date = f"llama-3.1-8b-qlora-{number:06x}", day.date().isoformat()
        outcome = chosen.choices(["finished", "failed", "missed", "skipped: budget", "unchanged"], [30, 2, 1, 1, 2])[0]
        if number == count - 1:
            outcome = "started"
        nights.append((schedule, night(date, outcome, run if outcome not in ("missed", "skipped: budget") else "")))
        if outcome in ("finished", "failed", "started"):
            accounts.append(drawn(chosen, run, day.timestamp() + 4680.0, outcome, number))
    return history(accounts, nights, budget())


def drawn(chosen: Random, run: str, begun: float, outcome: str, number: int) -> CostReport:
    """One run of a year: dearer and cheaper machines, a falling loss, bills that come late or never."""
    provider = chosen.choice(list(MACHINES))
    likely = {"gcp": 6.0, "runpod": 4.0, "aws": 5.0}[provider] * chosen.uniform(0.9, 1.1)
    metered = likely * chosen.uniform(0.8, 1.3) * (0.3 if outcome != "finished" else 1)
    age = 365 - number
    priced = chosen.random() > 0.04
    return account(
        run,
        state={"finished": "finished", "failed": "failed", "started": "running"}[outcome],
        provider=provider,
        offer=MACHINES[provider],
        started_at=begun,
        ended_at=begun + 7000.0,
        quoted_usd={"low": f"{likely * 0.8:.6f}", "likely": f"{likely:.6f}", "high": f"{likely * 1.4:.6f}"},
        machines=costing(f"{metered:.9f}" if priced else None),
        metered_s=metered * 1500,
        tokens=int(chosen.uniform(4e6, 6e6)) if outcome == "finished" else None,
        measured_tokens_per_second={"gcp": 90.0, "runpod": 2600.0, "aws": 130.0}[provider] * chosen.uniform(0.9, 1.1)
        if outcome == "finished"
        else None,
        loss=0.9 + 0.8 * age / 365 + chosen.uniform(-0.03, 0.03) if outcome == "finished" else None,
        eval_loss=1.0 + 0.8 * age / 365 + chosen.uniform(-0.03, 0.03) if outcome == "finished" and number % 5 else None,
        billed_usd=Decimal(f"{metered * 1.02:.6f}") if priced and outcome != "started" and number % 4 else None,
        billed_status=("final" if age > 4 else "provisional")
        if priced and outcome != "started" and number % 4
        else None,
        spec="llama-3.1-8b-qlora",
    )
