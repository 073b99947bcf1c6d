"""The documents of nights, budgets and bills, which belong to a state or to what a provider says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cloudtrain.records.form import Form, Instant, Record, Usd


class BudgetsRecord(Record):
    """`budgets.json`: the most that may be spent, in US dollars; None: no limit. Weeks begin on Monday.

    `timezone` (IANA) says when a week and a month begin.
    """

    run_usd: Usd | None = None
    week_usd: Usd | None = None
    month_usd: Usd | None = None
    timezone: str = "UTC"


class ReservationRecord(Record):
    """`reservations/RUN.json`: what a run may cost at the most, all its machines together; kept until it is settled.

    No machine of it stands after `until`. `attempt` is the one that it was made for, before that was begun.
    """

    run: str
    usd: Usd
    made: Instant
    until: Instant
    attempt: int = 1


class ScheduleRecord(Record):
    """`nights/SCHEDULE/schedule.json`: whose the name is, made by its first tick."""

    name: str
    spec: str  # its path in the repository, or on this machine where there is none
    repository: str = ""  # owner/name at the forge; "" on a laptop
    at: str  # HH:MM in `timezone`
    timezone: str
    latest_s: float  # how late a night may begin
    made: Instant


class NightRecord(Record):
    """`nights/SCHEDULE/nights/YYYY-MM-DD.json`: one local date, created by a conditional write by who begins it.

    `outcome` is "" while a tick is at it, else a word of `nights/outcome.py`. `fingerprint` is of what decides whether
    a run would be the same as an earlier one.
    """

    date: str
    due: Instant
    begun: Instant
    outcome: str = ""
    run: str = ""
    message: str = ""
    fingerprint: str = ""


class TickRecord(Record):
    """A line of `nights/SCHEDULE/ticks.jsonl`: when a tick was, how long it took, and what it did."""

    time: Instant
    outcome: str
    date: str = ""
    run: str = ""
    message: str = ""
    took_s: float = 0.0


class ToldRecord(Record):
    """`nights/SCHEDULE/told.json`: the outcome of each newer night that was told: a tick may die before it tells it."""

    nights: Mapping[str, str] = {}  # local date -> outcome


class BillRecord(Record):
    """`runs/RUN/bill.json`: what the provider has billed so far. It stands beside what was metered, never in its place.

    A provisional one may still grow: who adds money up takes the larger of it and what was metered. `source` is who
    said so: an API and what was asked of it. `asked` is when. `parts` are by sort, as `providers.Bills` names them.
    """

    status: Literal["provisional", "final"]
    usd: Usd
    asked: Instant
    source: str
    message: str = ""
    parts: Mapping[str, Usd] = {}


class BillingRecord(Record):
    """`bills/PROVIDER.json`: when the provider's bill was last asked for, and what it said beside the figures."""

    asked: Instant
    message: str = ""


class PendingNotice(Form):
    """What a forge may not have been told yet: a tick's words, and the text for its issue or comment."""

    where: Literal["issue", "pr"]
    outcome: str
    date: str
    run: str
    message: str
    body: str


class NoticesRecord(Record):
    """`nights/SCHEDULE/notices.json`: the issue of the schedule and who wrote it, and what is still to be told.

    `workflow` says that the forge has switched the schedule's file off, as far as the last tick knows.
    """

    issue: int | None = None
    author: str = ""
    pending: PendingNotice | None = None
    workflow: str = ""
