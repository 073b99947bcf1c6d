"""Reconcile a rented run from any machine: an ended one is torn down with proof, a preempted machine replaced.

Nothing here needs the client that began the run: plan, bundle and the places to try are read from the state.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.errors import NoCapacity, OverBudget, UsageError
from cloudtrain.plan import GRACE_S, Plan
from cloudtrain.providers import StopOptions
from cloudtrain.runs import attempts, candidates, remote, segments, teardown
from cloudtrain.runs.events import Emit, Message, progress
from cloudtrain.runs.record import ADDRESSES_END, Run
from cloudtrain.runs.remote import MachineEvent
from cloudtrain.runs.spending import standing
from cloudtrain.runs.teardown import LEAST_LEFT_S, wants_another
from cloudtrain.settings import now
from cloudtrain.signing import expiry, keyless
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import write_record

if TYPE_CHECKING:
    from cloudtrain.records import RowRecord

MOST_PLACES = 40


def keep_candidates(store: Store, run: str, lines: Sequence[RowRecord]) -> None:
    """Remember where else a machine may be looked for, without the quote; see `quote.document.candidate`."""
    from cloudtrain.records import CandidatesRecord

    write_record(store, f"runs/{run}/candidates.json", CandidatesRecord(places=tuple(lines[:MOST_PLACES])))


def look(run: Run) -> MachineEvent:
    """One look, with as few questions as it takes; see `remote.Monitor.poll`."""
    if run.exit is not None:
        return "ended"
    monitor = remote.Monitor(run)
    if not monitor.may_exist():
        return "ended" if monitor.has_ended() else "vanished"
    age_s = time.time() - run.machine.created if run.machine else 0.0
    return "silent" if not run.heartbeat and age_s > monitor.pace.first_s else ""


def is_over(run: Run) -> bool:
    """Whether nothing is left to be done for the run: its end is proven, and no machine has to follow."""
    return run.gone is not None and not wants_another(run)


def may_continue(run: Run) -> bool:
    """Whether the run may still end differently, by itself or by a client."""
    if run.state == "starting":
        return not (run.is_abandoned and not run.stack.direct)  # one here is died, or has a process that ends
    return run.state in ("running", "unknown") or (not run.stack.direct and wants_another(run))


def reconcile(run: Run, event: MachineEvent, emit: Emit) -> Run:
    """After an event: end the machine with proof; start another when it was reclaimed.

    Returns the run, which continues if it has a machine that is not gone. Raises TeardownIncomplete, NoCapacity.
    """
    if event == "silent":
        waited = f"{remote.pace(run.intent.provider).first_s:.0f} s"
        run.event("machine silent", attempt=run.intent.attempt, waited=waited)
        emit(Message(f"no heartbeat for {waited}: the machine's image or start has failed; it is ended", True))
    if event and run.gone is None:
        run = teardown.down(run, StopOptions(GRACE_S, log=progress(emit)), wanted=False)
        if run.addresses_ended:
            run.event(ADDRESSES_END, attempt=run.intent.attempt)
    if not wants_another(run):
        return run
    if run.addresses_ended:
        why = "lived as long as its addresses"
    else:
        why = "was preempted" if run.exit else "is gone without an exit record"
        if run.line is not None:
            candidates.remember_full(run.store, run.line.key, now())
    emit(Message(f"the machine of attempt {run.intent.attempt} {why}; looking for another", True))
    return restart(run, emit)


def restart(run: Run, emit: Emit) -> Run:
    """The next machine of a run whose last one is proven gone. Raises NoCapacity when no place has one."""
    keyless.renew()
    plan = plan_again(run)
    places = candidates.near(run.places or [plan.line], plan.line.key, candidates.full_places(run.store), now())
    started, answer = attempts.start_somewhere(
        run.store, places, lambda row: agreed_plan(run, plan, row), emit, passed_over=(OverBudget,)
    )
    if started is None:
        raise NoCapacity(
            f"no place had a machine to resume on: {answer or 'none is affordable'}",
            f"`cloudtrain poll {run.id}` tries again",
        )
    return started


def plan_again(run: Run) -> Plan:
    """The run's plan out of its records: the bundle is in the state already, so its job is not needed again."""
    intent = run.intent
    spec = run.store.read(run.key("spec.yaml"))
    if spec is None or intent.bundle is None or run.quote is None:
        raise UsageError(f"run `{run.id}` has no bundle to begin again with", f"cloudtrain down {run.id}")
    return Plan(
        run=run.id,
        identity=intent.identity,
        provider=intent.provider,
        flavour=intent.flavour,
        line=run.quote.line,
        job={"model": intent.model},
        spec_yaml=spec.decode(),
        data_sha256=intent.data_sha256,
        deadline=run.ends,
        deadline_basis=intent.deadline_basis if intent.run_deadline is None else "the run's own deadline",
        segments=intent.run_deadline is not None,
        guards=intent.guards,
        flops_per_token=run.quote.flops_per_token or 0.0,
        max_cost=intent.max_cost_usd,
        stop_above_cap=intent.stop_above_cap,
        revision=intent.revision,
        max_restarts=intent.max_restarts,
        agreed_usd=intent.agreed_usd,
        accept_risk=intent.accept_risk,
        teaches=intent.teaches,
    )


def agreed_plan(run: Run, plan: Plan, row: RowRecord) -> Plan:
    """The plan on another row, at its price of now.

    Raises OverBudget when that is more than was agreed to, UsageError as `expiry.refuse_unknown`, MissingCredentials as
    `segments.cut`.
    """
    expiry.refuse_unknown(run.store.url, now(), plan.accept_risk)
    spent = run.spent_usd(claims_count=False) or Decimal(0)
    there = replace(plan, provider=row.provider, line=row)
    found = attempts.priced(there, row.beside_usd_per_hour or Decimal(0), spent, accept_stale=True)
    hourly, left, most = found.hourly_usd, found.hours_left(), standing.allowed_usd(run)
    if most is not None and (hourly is None or spent + hourly * left > most or left * 3600 < LEAST_LEFT_S):
        raise OverBudget(f"{row.offer} would make the whole run more expensive than was agreed to")
    if plan.segments:
        return segments.cut(found.plan, run.store.url, now())
    return replace(found.plan, deadline=expiry.within(run.store.url, found.plan.deadline, None, now())[0])


def adopt_orphan(run: Run) -> Run:
    """The run with the machine that its client asked for and did not live to write down, if there is or was one.

    Without it a look from elsewhere would take a job that trains for one that never began. Raises ProviderError.
    """
    find = run.stack.find
    if run.machine is not None or run.gone is not None or run.intent.idle or find is None:
        return run
    has_reported = run.exit is not None or (run.heartbeat is not None and run.heartbeat.attempt == run.intent.attempt)
    machine = find(run.id, run.store, has_reported)
    if machine is None:
        return run
    run.write("machine.json", machine.replace(usd_per_hour=run.usd_per_hour))
    run.event("machine adopted", id=machine.id, attempt=run.intent.attempt)
    return Run(run.store, run.id)
