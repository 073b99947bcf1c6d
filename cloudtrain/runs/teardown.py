"""Ending a run: stop it, have its absence proven, write the death certificate. Outputs are never deleted."""

from __future__ import annotations

import time

from cloudtrain.errors import TeardownIncomplete
from cloudtrain.runs.plan import GRACE_S
from cloudtrain.runs.record import Run

SETTLED = {"finished", "stopped", "failed", "cancelled"}


def down(run: Run, grace_s: float = GRACE_S) -> Run:
    """End whatever is left of the run and write gone.json. A run that is already gone is looked at again.

    Raises TeardownIncomplete (6) when something could not be proven gone; the record is kept.
    """
    was = run.state
    intent = dict(run.intent)
    if was not in SETTLED:
        run.write("intent.json", {**intent, "wanted": "down"})
        run.store.write(run.key("kill"), b"down\n")
    run.journal("intent", "stop")
    try:
        absence = run.stack.stop(run.id, grace_s)
    except TeardownIncomplete:
        run.journal("failed", "stop")
        run.event("teardown incomplete")
        raise
    run.journal("done", "stop", answer=absence.answer)
    after = Run(run.store, run.id)
    if after.gone is None:
        after.write(
            "gone.json",
            {
                "run": run.id,
                "provider": intent["provider"],
                "said_by": absence.said_by,
                "answer": absence.answer,
                "time": absence.time,
                "billed_s": after.metered_s(),
                "written_by": "down",
            },
        )
        after.event("gone", answer=absence.answer)
    return Run(run.store, run.id)


def settle(run: Run, patience_s: float = 10.0) -> Run:
    """Wait until a run that has left its exit record is really gone, then certify it."""
    give_up = time.monotonic() + patience_s
    while run.alive and time.monotonic() < give_up:
        time.sleep(0.1)
        run = Run(run.store, run.id)
    return down(Run(run.store, run.id))
