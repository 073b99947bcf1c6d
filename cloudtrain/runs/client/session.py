"""One run as a library: its places, its start, following it, its end. Options in, events out; nothing is printed.

A session asks only through the callback it was given, and reports everything else in events (`runs/events.py`). What a
run ended with is its return value or an error with an exit code (`runs/results/outcome.py`).
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import CloudtrainError, NoCapacity, NotFinished, TeardownIncomplete, UsageError
from cloudtrain.plan import Plan
from cloudtrain.providers import Stack, load
from cloudtrain.quote.document import candidate
from cloudtrain.runs import attempts, launch, prepare, reconcile
from cloudtrain.runs.chunks import log_size
from cloudtrain.runs.client import planning
from cloudtrain.runs.client.attached import Attachment, held
from cloudtrain.runs.client.machinery import Machinery, RealClouds
from cloudtrain.runs.client.options import UpOptions
from cloudtrain.runs.client.planning import Places
from cloudtrain.runs.events import Ask, Emit, MachineCreated, Message, PlanReady, RunFound, Started, ignore, refuse
from cloudtrain.runs.launch import Found
from cloudtrain.runs.prepare import Prepared
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, outcome
from cloudtrain.runs.spending import budget
from cloudtrain.runs.spending.reserve import Funds, Wanted, release
from cloudtrain.runs.transfer import hub_token
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import open_store

if TYPE_CHECKING:
    from cloudtrain.quote.row import QuoteRow
    from cloudtrain.settings import Settings


class Located(NamedTuple):
    """A spec that can be run, and what there is of it."""

    store: Store
    prepared: Prepared
    found: Found


class Session:
    """What one client does for one run."""

    def __init__(
        self,
        options: UpOptions,
        settings: Settings,
        emit: Emit = ignore,
        ask: Ask = refuse,
        machinery: Machinery | None = None,
    ) -> None:
        self.options, self.settings, self.emit, self.ask = options, settings, emit, ask
        self.machinery: Machinery = machinery or RealClouds()
        self.attachment = Attachment(options, self.machinery, emit, ask)
        self.planner = planning.Planner(options, settings, emit, self.machinery)

    def up(self) -> Run | None:
        """The whole life of the spec's run: started, resumed, attached to, or reported when it is finished.

        Returns the run, finished unless it is left alone; None for a dry run. Raises by how it ended otherwise.
        """
        located = self.locate()
        run = located.found.run
        if run is not None and located.found.action == "finished":
            self.emit(RunFound(run, "finished"))
            return self.finish(run)
        if run is not None and located.found.action == "attach":
            self.emit(RunFound(run, "attach"))
            return self.attachment.attach(run)
        budget.read(located.store)  # one that is broken stops here, before anything is fetched or asked
        return self.start(self.places(located))

    def locate(self) -> Located:
        """The spec, its data checked, and what the state has of it. Raises UsageError for what is wrong with them."""
        prepared = prepare.prepare(self.options.spec, self.options.spec_overrides())
        store = open_store(self.settings.state)
        measurements.refresh(store)
        found = launch.locate(store, cache(lambda revision: prepared.at_revision(revision).identity), self.options.new)
        begun_with = found.run.intent.revision if found.run else None
        return Located(store, prepared.at_revision(begun_with), found)

    def places(self, located: Located) -> Places:
        """Where the run may be started or resumed. Raises NothingViable, OverBudget, UsageError."""
        return self.planner.places(located.store, located.prepared, located.found.run)

    def start(self, places: Places) -> Run | None:
        """Start the run in the first place that has a machine and, unless detached, stay with it to its end.

        Returns None for a dry run. Raises NoCapacity when no place has one.
        """
        try:
            return self._start_here(places) if places.direct else self._start_rented(places)
        except launch.Overtaken as overtaken:  # as if it had been looked at only now
            self.emit(Message(f"{overtaken.message} by now: attached"))
            return self.attach(Run(places.store, places.first.run))

    def attach(self, run: Run) -> Run:
        """Follow a run that is living, or may be; of one that has ended, report how.

        Raises NotFinished for one that is only starting, TeardownIncomplete for one that is not proven gone.
        """
        unproven = not run.stack.direct and run.gone is None
        if run.state in ("running", "unknown") or (unproven and run.machine is not None):
            return self.attachment.attach(run)
        if run.state == "starting":
            raise NotFinished(
                f"run `{run.id}` is starting: no machine of it is known yet",
                f"the same again in a moment; `cloudtrain poll {run.id}` when the client that began it is gone",
            )
        if unproven:
            raise TeardownIncomplete(
                f"the teardown of run `{run.id}` was requested and is not proven yet", f"cloudtrain down {run.id}"
            )
        self.emit(Message(f"run `{run.id}` is {run.state}"))
        return self.finish(run)

    def finish(self, run: Run) -> Run:
        """Bring the result of a finished run home. Raises by how another one ended; a rented machine is ended first."""
        return self.attachment.finish(run)

    def _start_here(self, places: Places) -> Run | None:
        """On this machine: the plan, consent, the start, the end."""
        plan, (row,) = replace(places.first, teaches=self.options.teaches), places.rows
        self._show(places, plan, row)
        funds, worst = self._funds(places), attempts.at_price(plan, prepare.hourly_usd(row, row.offer.usd_per_hour))
        funds.check(wanted := Wanted(Run(places.store, plan.run), worst, plan.ends))
        if self.options.dry_run:
            return None
        self.planner.agree(plan, row, row.usd.high if row.usd else Decimal("Infinity"), self.ask)
        with held(places.store, plan.run, f"`cloudtrain logs -f {plan.run}` follows it"):
            offset = log_size(Run(places.store, plan.run))
            run = launch.start(places.store, replace(plan, reserved_until=funds.reserve(wanted)))
            self.emit(Started(run))
            return self.attachment.follow_or_detach(run, offset)

    def _start_rented(self, places: Places) -> Run | None:
        """On a rented machine: place after place, then the job; or the machine alone, left idle."""
        with held(places.store, places.first.run, "`cloudtrain ps` shows what it does"):
            run = self._first_machine(places)
            if run is None or self.options.machine_only:
                return run
            return self.attachment.follow_or_detach(run)

    def _first_machine(self, places: Places) -> Run | None:
        """One plan after the other; asked once, and again for a more expensive one."""
        funds, own = self._funds(places), Run(places.store, places.first.run)
        if self.options.dry_run:
            plan, worst = self._offer(places, places.rows[0])
            funds.check(Wanted(own, worst, plan.ends))
            return None
        agreed: Decimal | None = None

        def plan_at(row: QuoteRow) -> Plan:
            nonlocal agreed
            plan, worst = self._offer(places, row)
            if agreed is None or worst > agreed:
                funds.check(Wanted(own, worst, plan.ends))
                self.planner.agree(plan, row, worst, self.ask)
                agreed = worst
            plan = replace(plan, reserved_until=funds.reserve(Wanted(own, agreed, plan.ends)))
            plan = self.machinery.stage(plan)
            if self.planner.token and not plan.idle:
                hub_token.keep(Run(places.store, plan.run), self.planner.token)
            if not plan.idle:
                reconcile.keep_candidates(
                    places.store, plan.run, [candidate(each) for each in places.rows[: reconcile.MOST_PLACES]]
                )
            return replace(plan, agreed_usd=agreed + places.spent_usd if agreed.is_finite() else None)

        try:
            run, answer = attempts.start_somewhere(places.store, places.rows, plan_at, self.emit)
        except CloudtrainError:
            come_to_nothing(Run(places.store, places.first.run))
            raise
        if run is None:
            come_to_nothing(Run(places.store, places.first.run))
            raise NoCapacity(f"no place had a machine; the last answer: {answer}", "try again later")
        with outcome.teardown_guard(run.id):
            self.emit(MachineCreated(run, restart=False))
        return run

    def _funds(self, places: Places) -> Funds:
        """What may be spent on the run."""
        return Funds(places.store, self.options.month_usd, self.emit)

    def _offer(self, places: Places, row: QuoteRow) -> tuple[Plan, Decimal]:
        """The run's plan on a row at the price of now, shown; and its cost in dollars if not ended before."""
        options, first = self.options, places.first
        plan = replace(
            planning.plan(places.store, places.prepared, places.quote, row, first.run, places.earlier),
            deadline=first.deadline,
            idle=options.machine_only,
            max_restarts=options.max_restarts,
            segments=options.segments,
            accept_risk=options.accept_risk,
            teaches=options.teaches,
        )
        found = attempts.priced(plan, row.assessment.extras.hourly_usd, places.spent_usd, options.accept_stale)
        plan = found.plan
        if not plan.idle:
            plan = planning.reachable_to_its_end(places.store, plan, row, self.emit, options.accept_risk)
        return plan, self._show(places, plan, row, found._replace(plan=plan))

    def _show(self, places: Places, plan: Plan, row: QuoteRow, found: attempts.Priced | None = None) -> Decimal:
        """Emit the plan; with a price it is one of a rented machine, which the engine previews first."""
        stack = load("stacks", plan.provider, Stack)
        ready = PlanReady(
            plan,
            row,
            places.prepared.model.name,
            self.options.destination(plan.run),
            resumes=places.earlier is not None,
            likely_unfinished=planning.is_too_short(plan, row),
            weights=places.notes.weights,
            data=places.notes.data,
        )
        if found is not None:
            ready = replace(
                ready,
                price=found.price,
                makes=tuple(stack.preview(plan)),
                kept=stack.cloud.kept if stack.cloud else (),
                worst_usd=found.worst_usd(),
            )
        self.emit(ready)
        return ready.worst_usd


def come_to_nothing(run: Run) -> None:
    """Delete the hub's token and what is reserved of a run without a machine; one that may have one keeps both."""
    with contextlib.suppress(UsageError):
        if run.begun is None or run.gone is not None:
            hub_token.forget(run)
            release(run)
