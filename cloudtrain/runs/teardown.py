"""Teardown: stop runs, prove that they are gone, write the proof down. Outputs are never deleted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import CloudtrainError, TeardownIncomplete, UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import DeletionProof, StopOptions
from cloudtrain.runs.listing import find, readable_runs
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import hub_token
from cloudtrain.state.protocol import Store

if TYPE_CHECKING:
    from cloudtrain.records import GoneRecord

SETTLED = {"finished", "stopped", "failed", "cancelled"}
LEAST_LEFT_S = 120.0  # with less time than this no further machine is started


class Ended(NamedTuple):
    """A run that is gone, the state in which it was found, and the proof as it is written down."""

    run: Run
    was: str
    proof: GoneRecord | None


def end_runs(store: Store, name: str | None, stopping: StopOptions, report: Callable[[Ended], None]) -> int:
    """End the run of that name, or without one every run that is not gone, and report each that is proven gone.

    One failure does not keep the others alive. Returns how many runs there were to end. Raises TeardownIncomplete when
    one could not be proven gone, UsageError when a record cannot be read or written.
    """
    found, damaged = readable_runs(store) if name is None else ([find(store, name)], [])
    runs = [run for run in found if run.gone is None or name is not None]
    sweep = "`cloudtrain sweep` finds what such a run may have rented"
    failures: list[CloudtrainError] = [UsageError(message, sweep) for message in damaged]
    for run in runs:
        was = "unknown"
        with contextlib.suppress(UsageError):  # what cannot be read does not keep the run alive
            was = run.state
        try:
            after = down(run, stopping)
            report(Ended(after, was, after.gone))
        except CloudtrainError as error:
            failures.append(error)
    if failures:
        message, hint = "; ".join(e.message for e in failures), "\n".join(dict.fromkeys(e.hint for e in failures))
        only_records = all(isinstance(error, UsageError) for error in failures)  # gone, all of them, but not written
        raise UsageError(message, hint) if only_records else TeardownIncomplete(message, hint)
    return len(runs)


def down(run: Run, stopping: StopOptions = StopOptions(GRACE_S), wanted: bool = True) -> Run:  # noqa: B008  # it cannot be changed
    """End whatever is left of the run and write gone.json. A run that is already gone is checked again.

    `wanted`: the user asked for it, so it counts as cancelled. Otherwise only an ended run is torn down.
    A state that cannot be written does not keep the run alive: it is ended first, and reported afterwards. Raises
    TeardownIncomplete (6) when something could not be proven gone, UsageError when only the written proof is missing.
    """
    provider = run.intent.provider
    with contextlib.suppress(UsageError):
        if wanted and run.state not in SETTLED:
            run.write("intent.json", run.intent.replace(wanted="down"))
            run.store.write(run.key("kill"), b"down\n")
            if not stopping.force:
                await_checkpoint(run, stopping)
        run.journal("intent", "stop")
    try:
        proof = run.stack.stop(run.id, run.store, stopping)
    except TeardownIncomplete:
        with contextlib.suppress(UsageError):
            run.journal("failed", "stop")
            run.event("teardown incomplete")
        raise
    except UsageError as error:  # a record that cannot be read proves nothing, whatever it would have said
        again = f"cloudtrain down {run.id}"
        raise TeardownIncomplete(
            f"run `{run.id}` is not proven gone from {provider}: {error.message}", f"{again} (before: {error.hint})"
        ) from error
    after = Run(run.store, run.id)
    try:
        after.journal("done", "stop", answer=proof.answer)
        after.store.delete(after.key("tickets"))  # they must not be used any more
        if after.gone is None:
            after.write("gone.json", deletion_record(after, provider, proof))
            after.event("gone", answer=proof.answer)
        if wanted or not wants_another(Run(run.store, run.id)):
            hub_token.forget(after)
    except UsageError as error:
        raise UsageError(f"run `{run.id}` is gone ({proof.answer}), but {error.message}", error.hint) from error
    return Run(run.store, run.id)


def wants_another(run: Run) -> bool:
    """Whether the run's machine was preempted, and another one may replace it."""
    if run.intent.idle or run.wanted == "down" or run.gone is None or run.machine is None:
        return False
    if run.exit is not None and run.exit.reason != "preempted":
        return False
    begun = sum(1 for attempt in run.attempts if attempt.machine)
    left_s = run.intent.deadline - time.time()
    return begun < run.intent.max_restarts and left_s > LEAST_LEFT_S


def await_checkpoint(run: Run, stopping: StopOptions) -> None:
    """Give a job on a rented machine with a heartbeat the time to read the request, save and write its exit record."""
    if run.stack.direct or run.intent.idle or not run.heartbeat:
        return
    from cloudtrain.runs import remote

    monitor = remote.Monitor(run)
    give_up = time.monotonic() + stopping.grace_s + 2 * monitor.pace.heartbeat_s
    stopping.log("waiting for its last checkpoint")
    while time.monotonic() < give_up and not monitor.poll():
        time.sleep(monitor.pace.log_s)


def deletion_record(run: Run, provider: str, proof: DeletionProof) -> GoneRecord:
    """What is written down of the proof: whose word, in which words, when, and what was billed."""
    from cloudtrain.records import GoneRecord

    return GoneRecord(
        run=run.id,
        provider=provider,
        said_by=proof.said_by,
        answer=proof.answer,
        time=proof.time,
        billed_s=run.metered_s(),
    )


def certify(run: Run, patience_s: float = 10.0) -> Run:
    """Wait until a run that has left its exit record is really gone, then have it proven and written down."""
    give_up = time.monotonic() + patience_s
    while run.alive and time.monotonic() < give_up:
        time.sleep(0.1)
        run = Run(run.store, run.id)
    return down(Run(run.store, run.id))
