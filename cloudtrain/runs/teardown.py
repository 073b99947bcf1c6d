"""Ending a run: stop it, have its absence proven, write the death certificate. Outputs are never deleted."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from cloudtrain.errors import TeardownIncomplete, UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import DeletionProof, StopOptions
from cloudtrain.runs.record import Run

if TYPE_CHECKING:
    from cloudtrain.records import GoneRecord

SETTLED = {"finished", "stopped", "failed", "cancelled"}


def down(run: Run, ending: StopOptions = StopOptions(GRACE_S), wanted: bool = True) -> Run:  # noqa: B008  # it cannot be changed
    """End whatever is left of the run and write gone.json. A run that is already gone is looked at again.

    `wanted`: somebody asked for it, so that it is called cancelled. Otherwise only what is over is cleared away.
    A state that cannot be written does not keep the run alive: it is ended first, and told afterwards. Raises
    TeardownIncomplete (6) when something could not be proven gone, UsageError when only the certificate is missing.
    """
    provider = run.intent.provider
    with contextlib.suppress(UsageError):
        if wanted and run.state not in SETTLED:
            run.write("intent.json", run.intent.replace(wanted="down"))
            run.store.write(run.key("kill"), b"down\n")
            if not ending.force:
                await_checkpoint(run, ending)
        run.journal("intent", "stop")
    try:
        absence = run.stack.stop(run.id, run.store, ending)
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
        after.journal("done", "stop", answer=absence.answer)
        after.store.delete(after.key("tickets"))  # nobody may use them any more
        if after.gone is None:
            after.write("gone.json", certificate(after, provider, absence))
            after.event("gone", answer=absence.answer)
    except UsageError as error:
        raise UsageError(f"run `{run.id}` is gone ({absence.answer}), but {error.message}", error.hint) from error
    return Run(run.store, run.id)


def await_checkpoint(run: Run, ending: StopOptions) -> None:
    """Give a job on a rented machine that still speaks the time to read the request, save and say its last word."""
    if run.stack.direct or run.intent.idle or not run.heartbeat:
        return
    from cloudtrain.runs import remote

    watch = remote.Watch(run)
    give_up = time.monotonic() + ending.grace_s + 2 * watch.pace.heartbeat_s
    ending.say("waiting for its last checkpoint")
    while time.monotonic() < give_up and not watch.news():
        time.sleep(watch.pace.log_s)


def certificate(run: Run, provider: str, absence: DeletionProof) -> GoneRecord:
    """The death certificate: whose word, in which words, when, and what was billed."""
    from cloudtrain.records import GoneRecord

    return GoneRecord(
        run=run.id,
        provider=provider,
        said_by=absence.said_by,
        answer=absence.answer,
        time=absence.time,
        billed_s=run.metered_s(),
    )


def settle(run: Run, patience_s: float = 10.0) -> Run:
    """Wait until a run that has left its exit record is really gone, then certify it."""
    give_up = time.monotonic() + patience_s
    while run.alive and time.monotonic() < give_up:
        time.sleep(0.1)
        run = Run(run.store, run.id)
    return down(Run(run.store, run.id))
