"""What happened in a state: every run's account and every night, read once. Every rendering of a report is of this.

Amounts are those of `report -o json`, to six places, so that whatever is summed here can be summed from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.report.budget import Budget, budget_of, timezone_of
from cloudtrain.report.cost_report import CostReport, per_million, quotient, report
from cloudtrain.report.figures import as_told
from cloudtrain.report.windows import zone_of

if TYPE_CHECKING:
    from cloudtrain.records import NightRecord
    from cloudtrain.state.protocol import Store

READERS = 8
NIGHTS_READ = 400  # of a schedule, the newest: each is a document of its own, and in a bucket a request
SPENT_NOTHING = ("skipped: budget", "missed", "unchanged")


class Entry(NamedTuple):
    """A run's figures. Dollars are None where they are unknown, other figures where there are none yet.

    `line` is what it is compared with: its schedule's name, of a run that no night began its spec's.
    """

    run: str
    state: str
    line: str
    provider: str
    offer: str
    started: float | None
    ended: float | None
    low_usd: Decimal | None
    likely_usd: Decimal | None
    high_usd: Decimal | None
    metered_usd: Decimal | None
    billed_usd: Decimal | None
    billed_status: str | None
    metered_s: float
    tokens: float | None
    tokens_per_second: float | None
    loss: float | None
    eval_loss: float | None

    @property
    def usd_per_million_tokens(self) -> Decimal | None:
        """What a million tokens cost, as metered."""
        return per_million(self.metered_usd, self.tokens)

    @property
    def metered_to_quoted(self) -> Decimal | None:
        """As a CostReport has it."""
        return quotient(self.metered_usd, self.likely_usd) if self.state == "finished" else None


class Night(NamedTuple):
    """One date of a schedule. `outcome` is "" while a tick is at it.

    `entry` has the figures of the run that this night began; one that others began is named in `run` alone.
    """

    schedule: str
    date: str
    due: float
    outcome: str
    message: str
    run: str
    entry: Entry | None


class History(NamedTuple):
    """All of it, newest first. `faults`: a sentence about each record that cannot be read and is not counted."""

    made: float
    zone: tzinfo
    zone_name: str
    accounts: tuple[CostReport, ...]
    entries: tuple[Entry, ...]
    nights: tuple[Night, ...]
    budget: Budget | None
    faults: tuple[str, ...]


def history(store: Store, now: float, begun_after: float = 0.0, with_budget: bool = True) -> History:
    """Read a state: the runs begun, and the nights due, since an instant. Raises when it cannot be reached.

    How the budget stands is another reading of every run, by its own rules.
    """
    from cloudtrain.runs.listing import readable_runs, tell_each

    found, damaged = readable_runs(store)
    told, more = tell_each((run for run in found if run.intent.created >= begun_after), report)
    documents, faults = nights_of(store)
    documents = [(schedule, night) for schedule, night in documents if night.due >= begun_after]
    zone, wrong = timezone_of(store)
    budget, fault = budget_of(store, now) if with_budget else (None, "")
    every = [*damaged, *more, *faults, *filter(None, (wrong, fault))]
    return put_together(now, zone, told, documents, budget, dict.fromkeys(every))


def put_together(
    now: float,
    zone: str,
    accounts: Iterable[CostReport],
    documents: Iterable[tuple[str, NightRecord]],
    budget: Budget | None = None,
    faults: Iterable[str] = (),
) -> History:
    """A history of what was read; `documents` are nights with the names of their schedules."""
    documents = sorted(documents, key=lambda each: (each[1].due, each[0]), reverse=True)
    began = {
        night.run: (schedule, night.date)
        for schedule, night in documents  # the oldest is the last, and stays
        if night.run and night.outcome not in SPENT_NOTHING
    }
    kept = tuple(accounts)
    entries = tuple(
        entry_of(account, began[account.run][0] if account.run in began else account.spec) for account in kept
    )
    by_night = {began[entry.run]: entry for entry in entries if entry.run in began}
    nights = tuple(
        Night(
            schedule,
            night.date,
            night.due,
            night.outcome,
            night.message,
            night.run,
            by_night.get((schedule, night.date)),
        )
        for schedule, night in documents
    )
    return History(now, zone_of(zone), zone, kept, entries, nights, budget, tuple(faults))


def entry_of(account: CostReport, line: str) -> Entry:
    """A run's figures of its account."""
    quoted = {} if account.quoted_usd is None else {key: Decimal(text) for key, text in account.quoted_usd.items()}
    return Entry(
        run=account.run,
        state=account.state,
        line=line,
        provider=account.provider,
        offer=account.offer,
        started=account.started_at,
        ended=account.ended_at,
        low_usd=as_told(quoted.get("low")),
        likely_usd=as_told(quoted.get("likely")),
        high_usd=as_told(quoted.get("high")),
        metered_usd=as_told(account.metered_usd),
        billed_usd=as_told(account.billed_usd),
        billed_status=account.billed_status,
        metered_s=account.metered_s,
        tokens=account.tokens,
        tokens_per_second=account.measured_tokens_per_second,
        loss=account.loss,
        eval_loss=account.eval_loss,
    )


def nights_of(store: Store) -> tuple[list[tuple[str, NightRecord]], list[str]]:
    """(schedule, night) of the newest nights of every schedule, and a sentence about each that cannot be read."""
    from cloudtrain.errors import DamagedRecord
    from cloudtrain.records import NightRecord
    from cloudtrain.state.store import read_record

    def read(key: str) -> NightRecord | str | None:
        try:
            return read_record(store, key, NightRecord)
        except DamagedRecord as damaged:
            return damaged.message

    found: list[tuple[str, NightRecord]] = []
    faults: list[str] = []
    with ThreadPoolExecutor(READERS) as readers:  # of a bucket
        for schedule in store.children("nights"):
            folder = f"nights/{schedule}/nights"
            for each in readers.map(read, [f"{folder}/{name}" for name in store.children(folder)[-NIGHTS_READ:]]):
                if isinstance(each, str):
                    faults.append(each)
                elif each is not None:
                    found.append((schedule, each))
    return found, faults
