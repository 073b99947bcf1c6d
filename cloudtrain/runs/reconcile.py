"""One look at a rented run from anywhere: what is over is ended with proof, what was taken away is begun again.

Nothing here needs the client that began the run: plan, bundle and the places to try are read from the state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from cloudtrain.errors import CloudtrainError, NoCapacity, OverBudget, ProviderError, UsageError
from cloudtrain.plan import GRACE_S, Plan
from cloudtrain.providers import StopOptions
from cloudtrain.runs import candidates, launch, live_price, remote, teardown
from cloudtrain.runs.record import Run
from cloudtrain.runs.remote import News
from cloudtrain.signing import expiry
from cloudtrain.state.protocol import Store
from cloudtrain.state.store import write_json
from cloudtrain.units import SECONDS_PER_HOUR

LEAST_LEFT_S = 120.0  # with less time than this no further machine is begun
MOST_PLACES = 40
AGREED_TOLERANCE = Decimal("1.02")
Say = Callable[[str], None]


def keep_candidates(store: Store, run: str, lines: list[dict[str, Any]]) -> None:
    """Remember where else a machine may be looked for, without the quote.

    Each is a quote line's document with `beside_usd_per_hour`: what disk and address cost beside the machine.
    """
    write_json(store, f"runs/{run}/candidates.json", lines[:MOST_PLACES])


def news(run: Run) -> News:
    """One look, with as few questions as it takes; see `rented.Watch.news`."""
    if run.exit is not None:
        return "ended"
    watch = remote.Watch(run)
    if not watch.stands():
        return "ended" if watch.has_ended() else "vanished"
    age_s = time.time() - float((run.machine or {}).get("created", time.time()))
    return "silent" if not run.heartbeat and age_s > watch.pace.first_s else ""


def is_over(run: Run) -> bool:
    """Whether nothing is left to be done for the run: its end is proven, and no machine has to follow."""
    return run.gone is not None and not wants_another(run)


def settle(run: Run, heard: News, say: Say) -> Run:
    """After news: end the machine with proof; begin again what was taken away. Raises TeardownIncomplete, NoCapacity.

    Returns the run, which goes on if it has a machine that is not gone.
    """
    if heard == "silent":
        waited = f"{remote.pace(run.intent['provider']).first_s:.0f} s"
        run.event("machine silent", attempt=run.intent.get("attempt"), waited=waited)
        say(f"the machine said nothing for {waited}: its image or its start has failed; it is ended")
    if heard and run.gone is None:
        run = teardown.down(run, StopOptions(GRACE_S, say=say), wanted=False)
    if not wants_another(run):
        return run
    why = "was preempted" if run.exit else "is gone without a last word"
    say(f"the machine of attempt {run.intent.get('attempt')} {why}; looking for another")
    candidates.remember_full_document(run.store, run.quote["line"], time.time())
    return restart(run, say)


def wants_another(run: Run) -> bool:
    """Whether the run's machine was taken away, and another one may follow it."""
    if run.intent.get("idle") or run.intent.get("wanted") == "down" or run.gone is None or run.machine is None:
        return False
    if run.exit is not None and run.exit["reason"] != "preempted":
        return False
    begun = sum(1 for attempt in run.attempts if attempt.get("machine"))
    left_s = float(run.intent["deadline"]) - time.time()
    return begun < int(run.intent.get("max_restarts", 0)) and left_s > LEAST_LEFT_S


def restart(run: Run, say: Say) -> Run:
    """The next machine of a run whose last one is proven gone. Raises NoCapacity when no place has one."""
    last = run.quote["line"]
    full = candidates.full_places(run.store)
    now = time.time()

    def rank(line: Mapping[str, Any]) -> tuple[bool, bool, bool]:
        is_full = full.get(candidates.document_key(line), 0.0) > now
        return is_full, line["provider"] != last["provider"], line["offer"] != last["offer"]

    plan = plan_again(run)
    answer = "none is affordable"
    for line in sorted(run.document("candidates.json") or [last], key=rank):
        try:
            return launch.start(run.store, priced(run, plan, line), say)
        except NoCapacity as error:
            answer = error.message
            candidates.remember_full_document(run.store, line, time.time())
            say(f"no capacity for {line['offer']} in {line['region']} {line['zone']}: {error.message}")
        except OverBudget as error:
            answer = error.message
    raise NoCapacity(f"no place had a machine to go on with: {answer}", f"`cloudtrain poll {run.id}` tries again")


def plan_again(run: Run) -> Plan:
    """The run's plan out of its records: the bundle is in the state already, so its job is not needed again."""
    intent = run.intent
    spec = run.store.read(run.key("spec.yaml"))
    if spec is None or "bundle" not in intent:
        raise UsageError(f"run `{run.id}` has no bundle to begin again with", f"cloudtrain down {run.id}")
    agreed, cap = intent.get("agreed_usd"), intent.get("max_cost_usd")
    return Plan(
        run=run.id,
        identity=intent["identity"],
        provider=intent["provider"],
        flavour=intent["flavour"],
        line=run.quote["line"],
        job={"model": intent["model"]},
        spec_yaml=spec.decode(),
        data_sha256=intent["data_sha256"],
        deadline=float(intent["deadline"]),
        deadline_basis=intent["deadline_basis"],
        guards=tuple(intent["guards"]),
        flops_per_token=float(run.quote["flops_per_token"]),
        max_cost=None if cap is None else Decimal(cap),
        max_restarts=int(intent["max_restarts"]),
        agreed_usd=None if agreed is None else Decimal(agreed),
    )


def priced(run: Run, plan: Plan, line: Mapping[str, Any]) -> Plan:
    """The plan on another line, at its price of now. Raises OverBudget when that is more than was agreed to."""
    price = live_price.check(line, time.time(), accept_stale=True).usd_per_hour
    document = {**line, "price_usd_per_hour": None if price is None else str(price)}
    extras = Decimal(line.get("beside_usd_per_hour") or 0)
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
        raise OverBudget(f"{line['offer']} would make the whole run dearer than was agreed to")
    return replace(plan, provider=str(line["provider"]), line=document, deadline=deadline)


def adopted(run: Run) -> Run:
    """The run with the machine that its client asked for and did not live to write down, if there is or was one.

    Without it a look from elsewhere would take a job that trains for one that never began. Raises ProviderError.
    """
    find = run.stack.find
    if run.machine is not None or run.gone is not None or run.intent.get("idle") or find is None:
        return run
    spoke = run.exit is not None or run.heartbeat.get("attempt") == run.intent.get("attempt")
    machine = find(run.id, run.store, spoke)
    if machine is None:
        return run
    price = run.quote.get("line", {}).get("price_usd_per_hour")
    run.write("machine.json", {**machine, "usd_per_hour": price})
    run.event("machine adopted", id=machine["id"], attempt=run.intent.get("attempt"))
    return Run(run.store, run.id)


def outcome(run: Run, say: Say) -> tuple[Run, CloudtrainError | None]:
    """`news` and `settle` in one, with what kept it from going on."""
    try:
        run = adopted(run)
        return settle(run, news(run), say), None
    except ProviderError as error:
        return Run(run.store, run.id), error
