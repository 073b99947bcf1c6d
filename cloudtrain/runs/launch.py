"""Plan -> running machine: find what the same spec started before, write the record first, start or resume."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cloudtrain.errors import NotFinished, OverBudget, TeardownIncomplete, UsageError, is_nothing_left
from cloudtrain.plan import GRACE_S, Plan
from cloudtrain.providers import Stack, StopOptions, load
from cloudtrain.runs.listing import all_runs
from cloudtrain.runs.record import RESUMABLE, Run
from cloudtrain.runs.results import remaining
from cloudtrain.settings import now
from cloudtrain.state import identity
from cloudtrain.state.layout import NEWEST
from cloudtrain.state.protocol import AlreadyThere, Store

if TYPE_CHECKING:
    from cloudtrain.records import IntentRecord

Action = Literal["create", "resume", "attach", "finished"]
ATTEMPT_DOCUMENTS = ("machine.json", "exit.json", "gone.json", "kill")


class Found(NamedTuple):
    """What is to be done for a spec in this state, and the run that it concerns (None: a new one)."""

    action: Action
    run: Run | None


def locate(store: Store, identity_at: Callable[[str | None], str], new: bool = False) -> Found:
    """The newest run of the same identity decides: alive -> attach, ended early -> resume, done -> finished.

    `identity_at` is the spec's identity with its model at a run's revision: a run goes on with the one it began with.
    """
    if new:
        return Found("create", None)
    same = (run for run in all_runs(store) if run.intent.identity == identity_at(run.intent.revision))
    run = next(same, None)
    if run is None:
        return Found("create", None)
    if run.state == "running":
        return Found("attach", run)
    return Found("finished" if run.state == "finished" else "resume", run)


def new_id(store: Store, stem: str, identity: str) -> str:
    """A run id that says what it is and is not taken: `smollm2-135m-qlora-3f9a2c`, then `...-2`.

    A name under which another client is only about to begin is not taken: both must come to the same one, so that the
    second one meets the first one's lease instead of renting a second machine.
    """
    taken = {run.id for run in all_runs(store)}
    base = f"{stem}-{identity[:6]}"
    candidates = [base] + [f"{base}-{number}" for number in range(2, len(taken) + 3)]
    return next(name for name in candidates if name not in taken)


class Overtaken(NotFinished):
    """A run that was to be resumed lives, or has finished, since it was looked at. Its machine may stand."""


def silent(text: str) -> None:
    """A logger that drops its messages."""


def start(store: Store, plan: Plan, log: Callable[[str], None] = silent) -> Run:
    """Make the plan's run real. The record is on disk before anything is started.

    Raises NotFinished when another client was first, Overtaken when there is nothing to resume any more, OverBudget
    when what was reserved for it may be another's by now, and what the stack raises.
    """
    from cloudtrain.records import QuoteRecord

    run = Run(store, plan.run)
    again = run.begun is not None
    if again:
        archive_attempt(run)
        run = Run(store, plan.run)
    store.write(run.key("spec.yaml"), plan.spec_yaml.encode())
    run.write("quote.json", QuoteRecord(line=plan.line, quoted_at=time.time(), flops_per_token=plan.flops_per_token))
    # What an older version began keeps its names: machines of it may stand, and nothing else would find them.
    whose = identity.of(store) if run.begun is None else run.begun.state
    plan = replace(plan, attempt=len(run.attempts) + 1, state=whose, rest=remaining.orders(plan))
    more: dict[str, Any] = {"state": whose} if whose else {}
    if not load("stacks", plan.provider, Stack).direct:
        plan, rented = rented_part(run, plan)
        more |= rented
    intent = intent_record(plan, run, **more)
    if plan.reserved_until is not None and now() > plan.reserved_until:
        raise OverBudget("it took too long until the run could begin: what was reserved for it has lapsed", "repeat it")
    if again:
        run.write("intent.json", intent)
    else:
        try:
            store.create(run.key("intent.json"), intent.as_bytes())
        except AlreadyThere:
            raise NotFinished(f"another client has just begun run `{run.id}`", "repeat the command to attach") from None
    return launch(Run(store, plan.run), plan, log)


def rented_part(run: Run, plan: Plan) -> tuple[Plan, dict[str, Any]]:
    """The plan of a rented machine with what it boots from, and what its record holds in addition."""
    if plan.idle:
        return plan, {"idle": True}
    from cloudtrain.runs import remote

    plan, shipped = remote.stage_job(run, plan)
    agreed: dict[str, Any] = {
        "agreed_usd": plan.agreed_usd,
        "max_restarts": plan.max_restarts,
        "accept_risk": plan.accept_risk,
    }
    agreed["run_deadline"] = plan.run_deadline
    return plan, {**shipped, **agreed}


def intent_record(plan: Plan, run: Run, **more: Any) -> IntentRecord:
    """What is about to be done, for anybody who finds the pieces; `more` is what not every run has."""
    from cloudtrain.records import IntentRecord

    return IntentRecord(
        run=plan.run,
        identity=plan.identity,
        provider=plan.provider,
        flavour=plan.flavour,
        wanted="up",
        created=time.time() if run.begun is None else run.begun.created,
        attempt=plan.attempt,
        deadline=plan.deadline,
        deadline_basis=plan.deadline_basis,
        max_cost_usd=plan.max_cost,
        stop_above_cap=plan.stop_above_cap,
        guards=plan.guards,
        layout=NEWEST if run.begun is None else run.begun.layout,
        data_sha256=plan.data_sha256,
        teaches=plan.teaches,
        revision=plan.revision,
        names={"tag": f"CLOUDTRAIN_RUN={plan.run}"},
        **more,
    )


def launch(run: Run, plan: Plan, log: Callable[[str], None]) -> Run:
    """Call the stack between two journal lines and keep the record of its machine."""
    stack = load("stacks", plan.provider, Stack)
    run.journal("intent", "start", attempt=run.intent.attempt, provider=plan.provider)
    try:
        machine = stack.start(plan, run.store, log)
    except BaseException as error:
        with contextlib.suppress(UsageError):  # what cannot be written must not hide what went wrong
            run.journal("failed", "start", error=type(error).__name__)
            if not stack.direct and is_nothing_left(error):  # proven; silence is no proof
                mark_failed_launch(run, plan, error)
        raise
    try:
        run.journal("done", "start", id=machine.id)
        run.write("machine.json", machine)
        run.event("machine", id=machine.id, attempt=run.intent.attempt)
    except UsageError as error:
        if stack.direct:
            raise
        raise TeardownIncomplete(
            f"machine {machine.id} of run `{run.id}` exists at {plan.provider}, but {error.message}",
            f"cloudtrain down {run.id} (before: {error.hint})",
        ) from error
    return Run(run.store, run.id)


def mark_failed_launch(run: Run, plan: Plan, error: BaseException) -> None:
    """Certify an attempt whose machine never was, or was removed again: the stack proved it before it raised."""
    from cloudtrain.records import GoneRecord

    answer = f"nothing of attempt {run.intent.attempt} is left after {type(error).__name__}"
    gone = GoneRecord(
        run=run.id, provider=plan.provider, said_by=plan.provider, answer=answer, time=time.time(), billed_s=0.0
    )
    run.write("gone.json", gone)
    run.store.delete(run.key("tickets"))  # its addresses are good until the deadline
    run.event("came to nothing", error=type(error).__name__, offer=plan.line.offer, attempt=run.intent.attempt)


def archive_attempt(run: Run) -> None:
    """Put the ended attempt aside and make sure that nothing of it still runs before the next one begins."""
    from cloudtrain.records import AttemptRecord, GoneRecord

    if run.state not in RESUMABLE and run.state != "starting":
        raise Overtaken(f"run `{run.id}` is {run.state}", f"`cloudtrain logs -f {run.id}` follows it")
    gone = run.gone
    if gone is None or run.stack.direct:
        gone = GoneRecord(**run.stack.stop(run.id, run.store, StopOptions(GRACE_S))._asdict())
        run = Run(run.store, run.id)  # the stop may have left an exit record
    if run.machine is not None or not run.stack.direct:
        number = len(run.attempts) + 1
        attempt = AttemptRecord(
            machine=run.machine,
            exit=run.exit,
            last_seen=run.heartbeat.time if run.heartbeat else None,
            gone=gone,
            line=None if run.stack.direct else run.line,
            deadline=None if run.stack.direct else run.intent.deadline,
            addresses_ended=run.addresses_ended,
        )
        run.write(f"attempts/{number:03d}.json", attempt)
    for name in ATTEMPT_DOCUMENTS if run.stack.direct else (*ATTEMPT_DOCUMENTS, "hb.json"):
        run.store.delete(run.key(name))
