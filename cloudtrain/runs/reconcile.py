"""One look at a rented run from anywhere: what is over is ended with proof, what was taken away is begun again.

Nothing here needs the client that began the run: plan, bundle and the places to try are read from the state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from cloudtrain.errors import CloudtrainError, NoCapacity, OverBudget, ProviderError, UsageError
from cloudtrain.plan import GRACE_S, Plan
from cloudtrain.providers import StopOptions
from cloudtrain.runs import candidates, launch, live_price, remote, teardown
from cloudtrain.runs.record import Run
from cloudtrain.runs.remote import News
from cloudtrain.signing import expiry
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import write_record
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.records import RowRecord

LEAST_LEFT_S = 120.0  # with less time than this no further machine is begun
MOST_PLACES = 40
AGREED_TOLERANCE = Decimal("1.02")
Say = Callable[[str], None]


def keep_candidates(store: Store, run: str, lines: Sequence[RowRecord]) -> None:
    """Remember where else a machine may be looked for, without the quote; see `quote.document.candidate`."""
    from cloudtrain.records import CandidatesRecord

    write_record(store, f"runs/{run}/candidates.json", CandidatesRecord(places=tuple(lines[:MOST_PLACES])))


def news(run: Run) -> News:
    """One look, with as few questions as it takes; see `rented.Watch.news`."""
    if run.exit is not None:
        return "ended"
    watch = remote.Watch(run)
    if not watch.stands():
        return "ended" if watch.has_ended() else "vanished"
    age_s = time.time() - run.machine.created if run.machine else 0.0
    return "silent" if not run.heartbeat and age_s > watch.pace.first_s else ""


def is_over(run: Run) -> bool:
    """Whether nothing is left to be done for the run: its end is proven, and no machine has to follow."""
    return run.gone is not None and not wants_another(run)


def settle(run: Run, heard: News, say: Say) -> Run:
    """After news: end the machine with proof; begin again what was taken away. Raises TeardownIncomplete, NoCapacity.

    Returns the run, which goes on if it has a machine that is not gone.
    """
    if heard == "silent":
        waited = f"{remote.pace(run.intent.provider).first_s:.0f} s"
        run.event("machine silent", attempt=run.intent.attempt, waited=waited)
        say(f"the machine said nothing for {waited}: its image or its start has failed; it is ended")
    if heard and run.gone is None:
        run = teardown.down(run, StopOptions(GRACE_S, say=say), wanted=False)
    if not wants_another(run):
        return run
    why = "was preempted" if run.exit else "is gone without a last word"
    say(f"the machine of attempt {run.intent.attempt} {why}; looking for another")
    if run.line is not None:
        candidates.remember_full(run.store, run.line.key, time.time())
    return restart(run, say)


def wants_another(run: Run) -> bool:
    """Whether the run's machine was taken away, and another one may follow it."""
    if run.intent.idle or run.wanted == "down" or run.gone is None or run.machine is None:
        return False
    if run.exit is not None and run.exit.reason != "preempted":
        return False
    begun = sum(1 for attempt in run.attempts if attempt.machine)
    left_s = run.intent.deadline - time.time()
    return begun < run.intent.max_restarts and left_s > LEAST_LEFT_S


def restart(run: Run, say: Say) -> Run:
    """The next machine of a run whose last one is proven gone. Raises NoCapacity when no place has one."""
    plan = plan_again(run)
    last = plan.line
    full = candidates.full_places(run.store)
    now = time.time()

    def rank(line: RowRecord) -> tuple[bool, bool, bool]:
        is_full = full.get(line.key.place, 0.0) > now
        return is_full, line.provider != last.provider, line.offer != last.offer

    answer = "none is affordable"
    for line in sorted(run.places or [last], key=rank):
        try:
            return launch.start(run.store, priced(run, plan, line), say)
        except NoCapacity as error:
            answer = error.message
            candidates.remember_full(run.store, line.key, time.time())
            say(f"no capacity for {line.offer} in {line.region} {line.zone}: {error.message}")
        except OverBudget as error:
            answer = error.message
    raise NoCapacity(f"no place had a machine to go on with: {answer}", f"`cloudtrain poll {run.id}` tries again")


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
        deadline=intent.deadline,
        deadline_basis=intent.deadline_basis,
        guards=intent.guards,
        flops_per_token=run.quote.flops_per_token or 0.0,
        max_cost=intent.max_cost_usd,
        max_restarts=intent.max_restarts,
        agreed_usd=intent.agreed_usd,
    )


def priced(run: Run, plan: Plan, line: RowRecord) -> Plan:
    """The plan on another line, at its price of now. Raises OverBudget when that is more than was agreed to."""
    price = live_price.check(line, time.time(), accept_stale=True).usd_per_hour
    extras = line.beside_usd_per_hour or Decimal(0)
    hourly, spent = None if price is None else price + extras, run.spent_usd() or Decimal(0)
    left = Decimal(max(0.0, plan.deadline - time.time())) / SECONDS_PER_HOUR
    deadline = plan.deadline
    if hourly and plan.max_cost is not None:
        rest = max(Decimal(0), plan.max_cost - spent) / hourly
        left, deadline = min(left, rest), min(deadline, time.time() + float(rest) * SECONDS_PER_HOUR)
    deadline = min(deadline, expiry.within(run.store.url, deadline, None, time.time())[0])
    if plan.agreed_usd is not None and (
        hourly is None or spent + hourly * left > plan.agreed_usd * AGREED_TOLERANCE or left * 3600 < LEAST_LEFT_S
    ):
        raise OverBudget(f"{line.offer} would make the whole run dearer than was agreed to")
    return replace(plan, provider=line.provider, line=line.at_price(price), deadline=deadline)


def adopted(run: Run) -> Run:
    """The run with the machine that its client asked for and did not live to write down, if there is or was one.

    Without it a look from elsewhere would take a job that trains for one that never began. Raises ProviderError.
    """
    find = run.stack.find
    if run.machine is not None or run.gone is not None or run.intent.idle or find is None:
        return run
    spoke = run.exit is not None or (run.heartbeat is not None and run.heartbeat.attempt == run.intent.attempt)
    machine = find(run.id, run.store, spoke)
    if machine is None:
        return run
    run.write("machine.json", machine.replace(usd_per_hour=run.usd_per_hour))
    run.event("machine adopted", id=machine.id, attempt=run.intent.attempt)
    return Run(run.store, run.id)


def outcome(run: Run, say: Say) -> tuple[Run, CloudtrainError | None]:
    """`news` and `settle` in one, with what kept it from going on."""
    try:
        run = adopted(run)
        return settle(run, news(run), say), None
    except ProviderError as error:
        return Run(run.store, run.id), error
