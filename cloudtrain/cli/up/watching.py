"""From the started run to its account: follow, Ctrl-C, what came of it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.output import ask, say
from cloudtrain.cli.up.planning import destination
from cloudtrain.errors import Cancelled, CloudtrainError, JobFailed, NotFinished
from cloudtrain.units import hours, money

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.runs.record import Run
    from cloudtrain.state.protocol import Store


def launch_and_follow(store: Store, plan: Plan, given: dict[str, Any]) -> None:
    """Start the plan and, unless detached, stay with it to its end."""
    from cloudtrain.runs import launch
    from cloudtrain.runs.record import Run, log_size
    from cloudtrain.state.protocol import AlreadyThere

    try:
        with store.hold(f"runs/{plan.run}/client.lock"):
            offset = log_size(Run(store, plan.run))
            run = launch.start(store, plan)
            say(f"started `{run.id}`")
            if given["detach"]:
                say(
                    f"it goes on without you; `cloudtrain logs -f {run.id}` follows, `cloudtrain down {run.id}` ends it"
                )
                return
            watch_and_conclude(run, offset, given)
    except AlreadyThere as held:
        raise NotFinished(
            f"another client is on run `{plan.run}`: {held.message}", f"`cloudtrain logs -f {plan.run}` follows it"
        ) from None


def follow(run: Run, given: dict[str, Any]) -> None:
    """Attach to a living run. Raises NotFinished while another client is on it."""
    from cloudtrain.cli.up import staying
    from cloudtrain.runs import follow as reading
    from cloudtrain.state.protocol import AlreadyThere

    if run.intent.idle:
        return say(f"it idles until its deadline; `cloudtrain down {run.id}` ends it")
    if given["detach"]:
        return say(f"`cloudtrain logs -f {run.id}` follows it")
    watched = contextlib.nullcontext() if run.stack.direct else staying.teardown_guard(run.id)
    try:
        with watched, run.store.hold(run.key("client.lock")):
            begin = reading.tail_offset(run, 20)
            if run.stack.direct:
                watch_and_conclude(run, begin, given)
            else:
                staying.stay(run, given, begin)
    except AlreadyThere as held:
        raise NotFinished(
            f"another client is on run `{run.id}`: {held.message}", f"`cloudtrain logs -f {run.id}` follows it"
        ) from None


def watch_and_conclude(run: Run, offset: int, given: dict[str, Any]) -> None:
    """Follow to the end; Ctrl-C asks whether to stop the run or to leave it."""
    from cloudtrain.cli.live import watch
    from cloudtrain.runs import teardown

    try:
        ended = watch(run, offset)
    except KeyboardInterrupt:
        interrupted(run, given)
        return
    conclude(teardown.settle(ended), given)


def interrupted(run: Run, given: dict[str, Any]) -> None:
    """After Ctrl-C: leave it running or stop it, and say which. A second Ctrl-C stops."""
    from cloudtrain.runs import teardown

    stop = False
    if sys.stdin.isatty() and not given["yes"]:
        try:
            stop = ask(f"\nstop `{run.id}`? (no: it goes on without you)", default=False)
        except KeyboardInterrupt:
            say()
            stop = True
    if not stop:
        raise Interrupted(
            f"left `{run.id}` running", f"`cloudtrain up` attaches again, `cloudtrain down {run.id}` ends it"
        )
    say(f"stopping `{run.id}`: it writes a checkpoint first")
    teardown.down(run)
    raise Interrupted(f"stopped `{run.id}`, nothing of it runs", "`cloudtrain up` resumes it from its last checkpoint")


class Interrupted(CloudtrainError):
    """Ctrl-C, with what still runs said."""

    exit_code = 130


def conclude(run: Run, given: dict[str, Any]) -> None:
    """What came of it: bring a finished result home and say the account, or say how it ended. Raises by the outcome."""
    from cloudtrain.runs import measurements, pull, teardown

    if not run.stack.direct and run.gone is None and run.exit is not None:
        run = teardown.down(run, wanted=False)
    if run.state == "finished":
        measurements.learn(run)
        home = pull.pull(run, destination(run.id, given))
        summary(run, home, kept=not given.get("simulation"))
        return
    reason = run.exit.reason if run.exit else run.state
    resume = "`cloudtrain up` goes on from the last checkpoint"
    if run.state == "cancelled":
        raise Cancelled(f"run `{run.id}` was stopped on request", resume)
    if run.state == "stopped":
        why = {"deadline": "reached its deadline", "preempted": "was interrupted"}.get(reason, reason)
        raise NotFinished(f"run `{run.id}` {why} before it was finished", f"{resume}; --max-hours gives it more time")
    if run.state == "died":
        lost = "the supervisor of" if run.stack.direct else "the machine of"
        what = "was killed" if run.stack.direct else "is gone without a last word"
        raise NotFinished(f"{lost} run `{run.id}` {what}", resume)
    measurements.learn(run)
    raise failure(run)


def failure(run: Run) -> JobFailed:
    """How a run failed, in a sentence, with what to do about it. None of these is tried again by itself."""
    from cloudtrain.runs import out_of_memory

    reason, message = (run.exit.reason, run.exit.message or "") if run.exit else (run.state, "")
    told = f": {message}" if message else ""
    look = f"`cloudtrain logs --tail 50 {run.id}` shows why"
    if reason == "wrong_accelerator":
        return JobFailed(
            f"run `{run.id}` failed: the accelerator it was to use is not there{told}",
            f"{look}; no other machine was tried, because the next one may be the same",
        )
    if reason == out_of_memory.REASON and (short := out_of_memory.shortage(run)) is not None:
        advice = out_of_memory.advice(run, short)
        return JobFailed(
            f"run `{run.id}` ran out of memory: {short.sentence()}", f"{advice}; {look}" if advice else look
        )
    return JobFailed(
        f"run `{run.id}` failed ({reason.replace('_', ' ')}){told}",
        f"{look}; `cloudtrain up` goes on from the last checkpoint",
    )


def summary(run: Run, home: Path, kept: bool) -> None:
    """The account of a finished run, on stdout; `kept`: whether its records are there later."""
    from cloudtrain.report.cost_report import report

    account = report(run)
    loss = "" if account.loss is None else f", final loss {account.loss:.3f}"
    click.echo(f"finished `{run.id}`: {account.steps or 0:,} steps, {account.tokens or 0:,} tokens{loss}")
    click.echo(f"result: {home}")
    more = f"; `cloudtrain report {run.id}` has it all" if kept else ""
    click.echo(f"cost: {money(account.metered_usd)} for {hours(account.metered_s)}{more}")
