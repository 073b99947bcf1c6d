"""States on disk for tests of reports: runs as they are left behind, and the nights of a schedule."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cloudtrain.records import (
    BillRecord,
    Bounds,
    CostPartRecord,
    ExitRecord,
    GoneRecord,
    NightRecord,
    QuoteRecord,
    UsdBounds,
)
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import Store
from tests.records import begin, machine, row

FIRST = datetime(2026, 11, 16, 1, 17, tzinfo=UTC).timestamp()  # a Monday
DAY_S = 86400.0
HOURLY = Decimal("2.5")


def ended(store: Store, name: str, begun: float, hours: float = 2.0, **more: Any) -> Run:
    """A rented run that is over: quoted $4 to $6, likely $5, at $2.5 an hour.

    `more`: figures of its exit record (reason, loss, eval_loss ...), `usd_per_hour` (None: unknown), `bill`, `offer`.
    """
    price = more.pop("usd_per_hour", HOURLY)
    bill, offer = more.pop("bill", None), more.pop("offer", "AMD Instinct MI300X OAM x1")
    begin(store, name, provider="runpod", created=begun, deadline=begun + 6 * 3600, identity=name.rpartition("-")[2])
    run = Run(store, name)
    part = CostPartRecord(name="compute", quantity=Decimal(2), unit="hours", unit_usd=price)
    quoted = row(
        provider="runpod",
        offer=offer,
        market="on_demand",
        price_usd_per_hour=price,
        cost_parts=(part,),
        total_usd=None if price is None else UsdBounds(low=Decimal(4), likely=Decimal(5), high=Decimal(6)),
        hours=Bounds(low=1.5, likely=2.0, high=3.0),
    )
    run.write("quote.json", QuoteRecord(line=quoted, quoted_at=begun))
    run.write("machine.json", machine(id=f"pod-{name}", place="EU-RO-1", created=begun, provider="runpod"))
    figures = {"reason": "done", "step": 600, "of": 600, "tokens": 5_000_000, "tokens_per_second": 700.0, "loss": 1.25}
    over = begun + hours * 3600
    run.write("exit.json", ExitRecord(**{**figures, "started_at": begun, "ended_at": over, **more}))
    run.write("gone.json", GoneRecord(time=over, run=name, provider="runpod"))
    if bill is not None:
        usd, status = bill
        run.write("bill.json", BillRecord(status=status, usd=Decimal(usd), asked=over, source="the provider"))
    return run


def put_night(store: Store, schedule: str, number: int, outcome: str, run: str = "", message: str = "") -> NightRecord:
    """The night `number` days after the first."""
    due = FIRST + number * DAY_S
    date = datetime.fromtimestamp(due, UTC).date().isoformat()
    night = NightRecord(date=date, due=due, begun=due + 30, outcome=outcome, run=run, message=message)
    store.write(f"nights/{schedule}/nights/{date}.json", night.as_bytes())
    return night


def fortnight(store: Store) -> None:
    """Fourteen nights of one schedule: eleven ran, one of them failed; one was missed, one skipped, one unchanged."""
    for number in range(14):
        name = f"llama-3.1-8b-qlora-{number:06x}"
        outcome = {3: "missed", 6: "skipped: budget", 9: "unchanged"}.get(number)
        if outcome is not None:
            put_night(store, "llama-nightly", number, outcome, f"llama-3.1-8b-qlora-{8:06x}" if number == 9 else "")
            continue
        more: dict[str, Any] = {"loss": 1.5 - number / 20, "eval_loss": 1.6 - number / 20, "hours": 2.2 - number / 20}
        if number == 5:
            more |= {"reason": "out_of_memory", "hours": 0.25, "tokens": 200_000}
        if number == 11:
            more |= {"usd_per_hour": None}
        if number < 9:
            more |= {"bill": (f"{5.6 - number / 10}", "final")}
        elif number == 12:
            more |= {"bill": ("3.1", "provisional")}
        ended(store, name, FIRST + number * DAY_S + 60, **more)
        put_night(store, "llama-nightly", number, "failed" if number == 5 else "finished", name)
