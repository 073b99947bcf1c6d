"""Begin tonight's run: once, if it is due, if anything has changed, within the budget; or say why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloudtrain import hub
from cloudtrain.errors import (
    CloudtrainError,
    NoCapacity,
    NotFinished,
    OverBudget,
    TeardownIncomplete,
    Unavailable,
    Unknown,
)
from cloudtrain.nights import book, results, unchanged
from cloudtrain.nights.due import Night
from cloudtrain.nights.options import TickOptions
from cloudtrain.nights.outcome import Outcome, Tick
from cloudtrain.runs import prepare
from cloudtrain.runs.client.machinery import Machinery
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.client.session import Session
from cloudtrain.runs.events import Emit, refuse
from cloudtrain.runs.launch import Found
from cloudtrain.runs.record import Run
from cloudtrain.state.protocol import Store
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloudtrain.records import NightRecord
    from cloudtrain.runs.prepare import Prepared
    from cloudtrain.settings import Settings

LATER = (NoCapacity, Unavailable, Unknown, NotFinished)  # the next tick tries again


@dataclass(frozen=True, slots=True)
class Beginner:
    """Who begins the nights of one schedule. It holds the schedule's lease."""

    store: Store
    options: TickOptions
    settings: Settings
    emit: Emit
    machinery: Machinery
    now: float

    def missed(self, nights: list[Night]) -> list[Tick]:
        """Nobody came for these nights: written down, and said once."""
        return [tick for night in nights if (tick := self.miss(night, "no tick came in time")) is not None]

    def miss(self, night: Night, why: str, record: NightRecord | None = None) -> Tick | None:
        """Close a night that was not begun until it was too late; None when somebody has written it meanwhile."""
        message = f"the night of {night.date} was not begun by {night.clock}: {why}"
        closed = (record or self.fresh(night)).replace(outcome="missed", message=message)
        if record is None:
            if not book.create_night(self.store, self.options.name, closed):
                return None
        else:
            book.write_night(self.store, self.options.name, closed)
        return Tick("missed", self.options.name, night.date, closed.run, message)

    def why(self, record: NightRecord) -> str:
        """Why a night that was claimed has no run."""
        return record.message or "the tick that began it was broken off"

    def fresh(self, night: Night) -> NightRecord:
        """The record with which a night is claimed."""
        from cloudtrain.records import NightRecord

        return NightRecord(date=night.date, due=night.due, begun=self.now)

    def tonight(self, night: Night, nights: Sequence[NightRecord], going: Sequence[NightRecord]) -> Tick | None:
        """Begin the night's run, or say why not; None when that has been done.

        `nights` are the newest records, `going` those whose runs go on: while one does, no other is begun beside it.
        """
        record = next((each for each in nights if each.date == night.date), None)
        if record is not None and record.outcome not in results.OPEN:
            return None
        own = next((each for each in going if each.date == night.date), None)
        if own is not None:
            return self.goes_on(own)
        if going:
            other = going[-1]
            why = f"run `{other.run}` of {other.date} still goes on"
            if night.is_over(self.now):
                return self.miss(night, why, record)
            return self.waits(night, f"{why}; tonight's is begun after it, until {night.clock}", other.run)
        if night.is_over(self.now):
            return self.miss(night, "no tick came in time" if record is None else self.why(record), record)
        if record is None:
            record = self.fresh(night)
            if not book.create_night(self.store, self.options.name, record):
                return self.waits(night, "another tick has just begun it", "")
        return self.begin(night, record, nights)

    def goes_on(self, night: NightRecord) -> Tick:
        """Its run lives. One whose tick died before it said so counts as started from here on."""
        if night.outcome == "" and results.had_machine(Run(self.store, night.run)):
            night = book.write_night(self.store, self.options.name, night.replace(outcome="started"))
        return Tick("going on", self.options.name, night.date, night.run, f"run `{night.run}` goes on")

    def waits(self, night: Night, why: str, run: str) -> Tick:
        """Not begun yet; a later tick tries again."""
        return Tick("going on", self.options.name, night.date, run, why)

    def begin(self, night: Night, record: NightRecord, nights: Sequence[NightRecord]) -> Tick:
        """Start the run of a night that is ours, or close the night. Only the outcomes are told, nothing is raised."""
        name = self.options.name
        try:
            prepared = prepare.prepare(self.options.spec, self.up_options("").spec_overrides())
            same = unchanged.since(self.store, prepared, nights, self.token())
            if same is not None:
                note = f" (the hub was not asked: {same.note})" if same.note else ""
                message = f"unchanged since run `{same.run}`{note}"
                return self.close(record, "unchanged", message, run=same.run, fingerprint=same.fingerprint)
            record = self.bound(record, prepared)
            run = self.start(record.run)
        except OverBudget as error:
            return self.close(record, "skipped: budget", said(error))
        except TeardownIncomplete as error:
            self.keep_reason(record, error)
            return Tick("leak", name, night.date, record.run, said(error))
        except LATER as error:
            self.keep_reason(record, error)
            return self.waits(night, f"{said(error)}; tried again until {night.clock}", record.run)
        except CloudtrainError as error:
            return self.close(record, "failed", said(error))
        print_ = unchanged.of_run(self.store, run, prepared)
        return self.close(record, "started", f"run `{run.id}` on {place_of(run)}", fingerprint=print_)

    def close(self, record: NightRecord, outcome: Outcome, message: str, **more: str) -> Tick:
        """Write down how a night stands, and say it."""
        written = record.replace(outcome=outcome, message=message[:2000], **more)
        book.write_night(self.store, self.options.name, written)
        return Tick(outcome, self.options.name, record.date, written.run, message)

    def keep_reason(self, record: NightRecord, error: CloudtrainError) -> None:
        """The night stays open, and its record says what it waits for."""
        book.write_night(self.store, self.options.name, record.replace(message=said(error)[:2000]))

    def bound(self, record: NightRecord, prepared: Prepared) -> NightRecord:
        """The record with the name of its run, written before anything of it is made: so there is never a second one.

        A start that came to nothing is tried again under the same name, unless the spec or its data have changed since.
        """
        number = 1
        while not self.fits(Run(self.store, book.run_name(self.options.name, record.date, number)), prepared):
            number += 1
        name = book.run_name(self.options.name, record.date, number)
        return (
            record if record.run == name else book.write_night(self.store, self.options.name, record.replace(run=name))
        )

    def fits(self, run: Run, prepared: Prepared) -> bool:
        """Whether a run of that name can be begun, or begun again, with this spec and data."""
        return run.begun is None or prepared.at_revision(run.intent.revision).identity == run.intent.identity

    def start(self, name: str) -> Run:
        """The run of that name, started or, when its first start came to nothing, started again."""
        session = Session(self.up_options(name), self.settings, self.emit, refuse, self.machinery)
        located, run = session.locate(), Run(self.store, name)
        if run.begun is not None:
            prepared = located.prepared.at_revision(run.intent.revision)
            located = located._replace(prepared=prepared, found=Found("resume", run))
        started = session.start(session.places(located))
        return Run(self.store, name if started is None else started.id)

    def up_options(self, name: str) -> UpOptions:
        """What `up` would be told."""
        options = self.options
        return UpOptions(
            spec=options.spec,
            infra=options.infra,
            hardware=options.hardware,
            spot=options.spot,
            max_hours=options.max_hours and options.max_hours / SECONDS_PER_HOUR,
            max_cost=options.max_cost,
            stop_above_cap=options.stop_above_cap,
            experimental=options.experimental,
            accept_risk=options.accept_risk,
            accept_stale=options.accept_stale,
            hub_token_from=options.hub_token_from,
            month_usd=options.budget_month,
            new=True,
            name=name or None,
            yes=True,
            detach=True,
            segments=True,
        )

    def token(self) -> str | None:
        """With which the hub is asked."""
        given = self.options.hub_token_from
        return hub.handed_over(given) if given else hub.own_token()


def said(error: CloudtrainError) -> str:
    """An error in a sentence, with what to do."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def place_of(run: Run) -> str:
    """Where a run has its machine."""
    line = run.line
    if line is None or run.stack.direct:
        return "this machine"
    return " ".join(part for part in (line.provider, line.offer, line.zone or line.region) if part)
