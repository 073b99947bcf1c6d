"""How a run ended, as a message and an exit code: failed, left running, stopped, or possibly left over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cloudtrain.errors import (
    Cancelled,
    CloudtrainError,
    Interrupted,
    JobFailed,
    NotFinished,
    OverBudget,
    TeardownIncomplete,
)
from cloudtrain.runs.record import ADDRESSES_END, OVER_CAP, Run
from cloudtrain.units import money, rfc3339

RESUME = "`cloudtrain up` resumes it from the last checkpoint"
EARLY = {"deadline": "reached its deadline", "preempted": "was interrupted", OVER_CAP: "stopped above a cap"}
WAITS = {ADDRESSES_END: "reached the end of its machine's addresses"}


def unfinished(run: Run) -> CloudtrainError:
    """How a run ended that did not finish, for who has followed it."""
    if run.state == "cancelled":
        return Cancelled(f"run `{run.id}` was stopped on request", RESUME)
    if run.state == "stopped":
        reason = run.stop_reason
        if is_above_cap(run):
            return stopped_above_cap(run)
        if reason in WAITS and time.time() < run.ends:
            return NotFinished(
                f"run `{run.id}` {WAITS[reason]} before it was finished",
                f"`cloudtrain poll {run.id}` goes on with credentials that last, by {rfc3339(run.ends)} at the latest",
            )
        reason = "deadline" if reason in WAITS else reason
        return NotFinished(
            f"run `{run.id}` {EARLY.get(reason, reason)} before it was finished",
            f"{RESUME}, with a deadline of its own",
        )
    if run.state == "died":
        lost = "the supervisor of" if run.stack.direct else "the machine of"
        what = "was killed" if run.stack.direct else "is gone without an exit record"
        return NotFinished(f"{lost} run `{run.id}` {what}", RESUME)
    return failure(run)


def check_finished(run: Run) -> None:
    """Raises by how a run ended that was not followed."""
    if run.state == "finished":
        return
    if run.state in ("cancelled", "failed") or run.stop_reason in WAITS or is_above_cap(run):
        raise unfinished(run)
    if run.state == "starting":
        raise NotFinished(
            f"run `{run.id}` is starting, and the client that began it is gone",
            f"`cloudtrain poll {run.id}` looks for its machine, `cloudtrain down {run.id}` ends it",
        )
    raise NotFinished(f"run `{run.id}` is {run.state}", RESUME)


def is_above_cap(run: Run) -> bool:
    """Whether its machine ended itself because the cap might not do, and had been told to."""
    return run.intent.stop_above_cap and run.stop_reason == OVER_CAP


def stopped_above_cap(run: Run) -> OverBudget:
    """A run that stopped because its own rate said that its cap might not do, with what it may cost in all."""
    from cloudtrain.runs.results import remaining

    rest, cap = remaining.of_run(run, run.exit), run.intent.max_cost_usd
    most = "more" if rest is None or rest.usd is None else f"{money(rest.usd.high)} in all"
    return OverBudget(
        f"run `{run.id}` stopped above its cap: at its own rate it may cost {most}, the cap is {money(cap)}; "
        f"it has cost {money(run.spent_usd())}",
        "`cloudtrain up` with a higher --max-cost goes on from its last checkpoint",
    )


def failure(run: Run) -> JobFailed:
    """How a run failed, with what to do about it. None of these is tried again by itself."""
    from cloudtrain.runs.results import out_of_memory

    reason, message = (run.exit.reason, run.exit.message or "") if run.exit else (run.state, "")
    said = f": {message}" if message else ""
    look = f"`cloudtrain logs --tail 50 {run.id}` shows why"
    if reason == "wrong_accelerator":
        return JobFailed(
            f"run `{run.id}` failed: the accelerator it was to use is not there{said}",
            f"{look}; no other machine was tried, because the next one may be the same",
        )
    if reason == out_of_memory.REASON and (short := out_of_memory.shortage(run)) is not None:
        advice = out_of_memory.advice(run, short)
        return JobFailed(
            f"run `{run.id}` ran out of memory: {short.describe()}", f"{advice}; {look}" if advice else look
        )
    return JobFailed(f"run `{run.id}` failed ({reason.replace('_', ' ')}){said}", f"{look}; {RESUME}")


def interrupted_launch(run: Run) -> CloudtrainError:
    """Ctrl-C while a machine of the run was being made: it was removed again with proof, or something may be left."""
    if run.gone is not None or run.begun is None:
        had_machine = any(attempt.machine for attempt in run.attempts)
        again = "resumes it" if had_machine else "starts it again"
        return Interrupted(f"stopped `{run.id}`; nothing of it is left", f"`cloudtrain up` {again}")
    return TeardownIncomplete(f"stopped `{run.id}`; something of it may be left", f"cloudtrain down {run.id}")


def left_running(run: Run) -> Interrupted:
    """Ctrl-C while the run was followed, and it was not to be stopped."""
    follows = "`cloudtrain up` attaches again" if run.stack.direct else f"`cloudtrain attach {run.id}` follows it"
    return Interrupted(f"left `{run.id}` running", f"{follows}, `cloudtrain down {run.id}` ends it")


def stopped(run: Run) -> Interrupted:
    """Ctrl-C while the run was followed, and it was ended with proof."""
    figures = Run(run.store, run.id).figures
    hint = RESUME if figures and figures.step else "`cloudtrain up` begins it again: it had made no step"
    return Interrupted(f"stopped `{run.id}`, nothing of it {'runs' if run.stack.direct else 'is left'}", hint)


@contextlib.contextmanager
def teardown_guard(run: str) -> Iterator[None]:
    """While a machine of the run may exist: losing access to the state means that it may keep costing money."""
    from cloudtrain.state.errors import BucketUnreachable

    try:
        yield
    except BucketUnreachable as error:
        raise TeardownIncomplete(
            f"run `{run}` may still be running, and {error.message}",
            f"cloudtrain poll {run} (it ends itself at its deadline)",
        ) from error
