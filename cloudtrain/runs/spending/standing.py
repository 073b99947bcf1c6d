"""What a state's runs have cost in this week and this month, and what those that live may still cost.

A run counts whole in every week and month in which one of its machines stood: one across midnight of the first counts
in both months. What has ended counts what it was billed, else its metered time until its end was proven; what may live
counts the most that it may cost. Only the state is read: no provider is asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import DamagedRecord, UsageError
from cloudtrain.runs.listing import readable_runs, tell_each
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import bills
from cloudtrain.runs.spending import budget, windows
from cloudtrain.runs.teardown import wants_another
from cloudtrain.settings import zones
from cloudtrain.state.store import read_record
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.records import BudgetsRecord, ReservationRecord
    from cloudtrain.state.protocol import Store

RESERVATIONS = "reservations"
LAPSE_S = 3600.0  # a reservation without a run that has begun with it counts so long, and its run may begin so long
AGREED_TOLERANCE = Decimal("1.02")  # of what was agreed to, where nothing was reserved
READERS = 8


class Account(NamedTuple):
    """One run: what it has cost, and what it may cost in all. None: a price is unknown.

    `last` is the last moment (epoch seconds) at which a machine of it may have stood: infinite while it may live.
    """

    run: str
    spent_usd: Decimal | None
    most_usd: Decimal | None
    last: float

    @property
    def lives(self) -> bool:
        """Whether a machine of it may stand, or may come."""
        return self.last == math.inf


class Window(NamedTuple):
    """One week or month: what was spent in it, and which of its runs have an unknown price."""

    name: str  # week | month
    span: windows.Span
    limit_usd: Decimal | None
    spent_usd: Decimal
    unknown: tuple[str, ...]


class Standing(NamedTuple):
    """Where a state stands. `open_usd` is what the living runs may still cost beyond what they have cost so far."""

    limits: BudgetsRecord | None
    week: Window
    month: Window
    open_usd: Decimal
    living: tuple[str, ...]
    damaged: tuple[str, ...]  # a message about each run that cannot be told

    @property
    def week_spent_usd(self) -> Decimal:
        """What was spent this week, as far as it is known."""
        return self.week.spent_usd

    @property
    def month_spent_usd(self) -> Decimal:
        """What was spent this month, as far as it is known."""
        return self.month.spent_usd

    @property
    def unknown(self) -> tuple[str, ...]:
        """The runs without a price that count in this week or month."""
        return tuple(dict.fromkeys((*self.week.unknown, *self.month.unknown)))


class Scan(NamedTuple):
    """Every run's account, by its name, without what is reserved; and a message about each that cannot be told."""

    accounts: Mapping[str, Account]
    damaged: tuple[str, ...]


def standing(store: Store, now: float) -> Standing:
    """Where the state stands. Raises UsageError for limits or reservations that cannot be read."""
    seen = scan(store, now)
    limits = budget.read(store)
    return summed(limits, with_reservations(store, seen.accounts, now).values(), now, seen.damaged)


def scan(store: Store, now: float) -> Scan:
    """The accounts of all runs, by their own records."""
    runs, damaged = readable_runs(store)
    with ThreadPoolExecutor(READERS) as readers:  # of a bucket; each run is a handful of documents
        told = list(readers.map(lambda run: tell_each([run], lambda each: account(each, now)), runs))
    accounts = {each.run: each for found, _ in told for each in found}
    return Scan(accounts, (*damaged, *(message for _, messages in told for message in messages)))


def with_reservations(store: Store, accounts: Mapping[str, Account], now: float) -> dict[str, Account]:
    """The accounts, those of runs with a reservation read anew. Raises DamagedRecord for one that cannot be read."""
    found = dict(accounts)
    for name in store.children(RESERVATIONS):
        run = name.removesuffix(".json")
        kept = reservation(store, run)
        if kept is not None:
            found[run] = account(Run(store, run), now, kept)
    return found


def summed(
    limits: BudgetsRecord | None, accounts: Iterable[Account], now: float, damaged: tuple[str, ...] = ()
) -> Standing:
    """The accounts as sums of the week and month that `now` is in."""
    where = zones.zone(limits.timezone if limits else "UTC")
    every = list(accounts)
    living = [each for each in every if each.lives]
    week = _window("week", windows.week(now, where), limits.week_usd if limits else None, every)
    month = _window("month", windows.month(now, where), limits.month_usd if limits else None, every)
    left = (each.most_usd - (each.spent_usd or 0) for each in living if each.most_usd is not None)
    open_usd = sum((max(Decimal(0), each) for each in left), Decimal(0))
    return Standing(limits, week, month, open_usd, tuple(each.run for each in living), damaged)


def _window(name: str, span: windows.Span, limit_usd: Decimal | None, accounts: list[Account]) -> Window:
    inside = [each for each in accounts if each.last >= span.since]
    spent = sum((each.spent_usd for each in inside if each.spent_usd is not None), Decimal(0))
    return Window(name, span, limit_usd, spent, tuple(each.run for each in inside if each.most_usd is None))


def reservation(store: Store, run: str) -> ReservationRecord | None:
    """What is reserved for a run. Raises DamagedRecord."""
    from cloudtrain.records import ReservationRecord

    return read_record(store, f"{RESERVATIONS}/{run}.json", ReservationRecord)


def account(run: Run, now: float, kept: ReservationRecord | None = None) -> Account:
    """One run's account; `kept` is its reservation. Raises DamagedRecord.

    A reservation counts from the moment it is written. It lapses when its run has not begun with it LAPSE_S later, and
    is settled by the records of the run's end.
    """
    found = recorded(run, now, kept) if run.begun is not None else Account(run.id, Decimal(0), Decimal(0), -math.inf)
    if kept is None or has_begun_with(run, kept):
        return found
    if now >= min(kept.made + LAPSE_S, kept.until):
        return found
    most = None if found.most_usd is None else max(kept.usd, found.most_usd)
    return found._replace(most_usd=most, last=math.inf)


def has_begun_with(run: Run, kept: ReservationRecord) -> bool:
    """Whether the attempt that it was made for is in the run's records."""
    return run.begun is not None and run.begun.attempt >= kept.attempt


def recorded(run: Run, now: float, kept: ReservationRecord | None) -> Account:
    """The account of a run that has begun, by its records."""
    may_live = run.state in ("starting", "running", "unknown") if run.stack.direct else lives(run)
    if not may_live:
        cost = settled_usd(run)
        return Account(run.id, cost, cost, last_stood(run))
    so_far, most = run.spent_usd(claims_count=False), most_usd(run, now, kept)
    if most is None or so_far is None:
        return Account(run.id, so_far, None, math.inf)
    if run.machine is None and now >= run.ends and not run.stack.direct:
        return Account(run.id, most, most, run.ends)  # its guards have fired; it may have had one until then
    return Account(run.id, so_far, max(so_far, most), math.inf)


def lives(run: Run) -> bool:
    """Whether a rented run has, or may get, a machine: nobody has proven its end, or another one is to follow."""
    return run.gone is None or wants_another(run)


def last_stood(run: Run) -> float:
    """Until when a machine of an ended run may have stood, in epoch seconds."""
    if run.gone is not None:
        return run.gone.time
    ended = run.exit.ended_at if run.exit else None
    seen = run.heartbeat.time if run.heartbeat else None
    return max(run.intent.created, ended or 0.0, seen or 0.0)


def settled_usd(run: Run) -> Decimal | None:
    """What an ended run counts: its final bill; else the larger of metered and billed so far. None: unknown."""
    billed = bills.bill(run)
    if billed is not None and billed.status == "final":
        return max(Decimal(0), billed.usd)
    metered = metered_usd(run)
    return metered if billed is None or metered is None else max(metered, billed.usd)


def metered_usd(run: Run) -> Decimal | None:
    """Metered until the end was proven; None when a price is unknown. A run that came to nothing costs nothing.

    A machine that its client did not live to write down counts from the attempt's beginning to the proof of its end.
    """
    if run.stack.direct or run.machine is not None:
        return run.spent_usd(claims_count=False)
    earlier = run.spent_usd(claims_count=False) if run.attempts else Decimal(0)
    if earlier is None or came_to_nothing(run):
        return earlier
    if run.usd_per_hour is None:
        return None
    began = (run.quote.quoted_at if run.quote else None) or run.intent.created
    ended = run.gone.time if run.gone else time.time()
    stood_s = max(0.0, min(ended, run.intent.deadline) - began)
    return earlier + run.usd_per_hour * Decimal(stood_s) / SECONDS_PER_HOUR


def came_to_nothing(run: Run) -> bool:
    """Whether the client of its newest attempt has written down that there never was a machine, or that it is gone."""
    from cloudtrain.records import EventRecord, read

    lines = (run.store.read(run.key("events.jsonl")) or b"").splitlines()
    try:
        events = [read(EventRecord, line, "`events.jsonl`") for line in lines if b'"came to nothing"' in line]
    except UsageError:
        return False
    return any(each.more.get("attempt") == run.intent.attempt for each in events)


def most_usd(run: Run, now: float, kept: ReservationRecord | None) -> Decimal | None:
    """The most that a living run may cost, all its machines together: what it is allowed, else what can run up.

    None when that is unknown.
    """
    allowed = within(run, kept)
    if allowed is not None:
        return allowed
    so_far = run.spent_usd(claims_count=False)
    if so_far is None or run.usd_per_hour is None:
        return None
    return so_far + run.usd_per_hour * Decimal(max(0.0, run.ends - now)) / SECONDS_PER_HOUR


def within(run: Run, kept: ReservationRecord | None) -> Decimal | None:
    """What a run that has begun stays within: what is reserved for it, else what was agreed to, if anything was."""
    agreed = run.intent.agreed_usd
    if kept is not None:
        return max(kept.usd, agreed or Decimal(0))
    return None if agreed is None else agreed * AGREED_TOLERANCE


def allowed_usd(run: Run) -> Decimal | None:
    """The same for who may start its next machine. A reservation that cannot be read keeps nobody from that."""
    try:
        return within(run, reservation(run.store, run.id))
    except DamagedRecord:
        return run.intent.agreed_usd
