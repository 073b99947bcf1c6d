"""Staying with a job on a rented machine: watch, go on elsewhere when the machine is taken away, bring home, end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cloudtrain.cli.output import ask, say
from cloudtrain.cli.up.planning import destination
from cloudtrain.cli.up.watching import Interrupted, conclude
from cloudtrain.errors import NoCapacity, NotFinished, TeardownIncomplete

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.runs.record import Run


def plan_rows(plan: Plan, given: dict[str, Any]) -> list[tuple[str, str]]:
    """What a job adds to the plan that is shown."""
    return [
        ("result", f"{destination(plan.run, given)}, when it is finished; checkpoints and log stay in the state"),
        ("restarts", f"at most {plan.max_restarts}, from the last checkpoint, when the machine is taken away"),
        ("leaving", leaving(given)),
    ]


def leaving(given: dict[str, Any]) -> str:
    """What happens to the run when this client goes away."""
    if given.get("simulation"):
        return "Ctrl-C ends a simulation with all that belongs to it; a real run goes on without its client"
    return "Ctrl-C or a closed lid stops nothing; `cloudtrain poll` looks after it from anywhere"


@contextlib.contextmanager
def teardown_guard(run: str) -> Iterator[None]:
    """While a machine of the run may stand: losing sight of the state means that it may go on costing money."""
    from cloudtrain.state.errors import BucketUnreachable

    try:
        yield
    except BucketUnreachable as error:
        raise TeardownIncomplete(
            f"run `{run}` may be going on, and {error.message}",
            f"cloudtrain poll {run} (it ends itself at its deadline)",
        ) from error


def stay_or_leave(run: Run, given: dict[str, Any]) -> None:
    """After the launch: stay to the end, unless detached."""
    if given["detach"]:
        return say(
            f"it goes on without you; `cloudtrain attach {run.id}` follows, `cloudtrain poll {run.id}` brings it home"
        )
    with teardown_guard(run.id):
        begin = log_begin(run)
    stay(run, given, begin)


def log_begin(run: Run) -> int:
    """The byte at which the log of the newest attempt begins: what there was before its machine."""
    from cloudtrain.records import TicketRecord
    from cloudtrain.runs.record import log_size

    ticket = run.document(f"tickets/{run.intent.attempt}.json", TicketRecord)
    return log_size(run) if ticket is None else ticket.log_bytes


def stay(run: Run, given: dict[str, Any], offset: int) -> None:
    """Follow over all machines to the end, then say what came of it. The caller holds the run's lease."""
    from cloudtrain.cli.live import watch
    from cloudtrain.runs import reconcile, remote

    try:
        with teardown_guard(run.id):
            while True:
                watcher = remote.Watch(run)
                run = watch(run, offset, watcher)
                run = reconcile.settle(run, watcher.heard, lambda text: say(f"  {text}"))
                if run.gone is not None:
                    break
                if run.machine is not None:
                    say(f"machine created: {run.machine.id} ({run.intent.provider}, {run.machine.place})")
                offset = log_begin(run)
    except KeyboardInterrupt:
        raise interrupted(run, given) from None
    except NoCapacity as error:
        raise NotFinished(f"run `{run.id}` lost its machine: {error.message}", error.hint) from None
    bring_home(run, given)


def bring_home(run: Run, given: dict[str, Any]) -> None:
    """Conclude a run whose machine is proven gone: a state that fails now costs only time."""
    from cloudtrain.state.errors import BucketUnreachable

    try:
        conclude(run, given)
    except BucketUnreachable as error:
        raise NotFinished(
            f"run `{run.id}` is over and its machine is gone, but {error.message}",
            f"`cloudtrain attach {run.id}` brings the result home when it can be reached",
        ) from error


def interrupted(run: Run, given: dict[str, Any]) -> Exception:
    """After Ctrl-C: leave it running or end it, and say which. A second Ctrl-C ends it."""
    from cloudtrain.plan import GRACE_S
    from cloudtrain.providers import StopOptions
    from cloudtrain.runs import teardown
    from cloudtrain.runs.record import Run

    if given.get("simulation"):
        return Interrupted(f"stopped `{run.id}`")
    run = Run(run.store, run.id)
    if run.machine is None:  # it came while another machine was being made, and that was removed again, or not
        if run.gone is not None:
            return Interrupted(f"stopped `{run.id}`; nothing of it is left", "`cloudtrain up` goes on with it")
        return TeardownIncomplete(f"stopped `{run.id}`; something of it may be left", f"cloudtrain down {run.id}")
    stop = False
    if sys.stdin.isatty() and not given["yes"]:
        try:
            stop = ask(f"\nstop `{run.id}`? (no: it goes on without you)", default=False)
        except KeyboardInterrupt:
            say()
            stop = True
    if not stop:
        return Interrupted(
            f"left `{run.id}` running", f"`cloudtrain attach {run.id}` follows it, `cloudtrain down {run.id}` ends it"
        )
    say(f"stopping `{run.id}`: it writes a checkpoint first")
    teardown.down(run, StopOptions(GRACE_S, say=lambda text: say(f"  {text}")))
    return Interrupted(f"stopped `{run.id}`, nothing of it is left", "`cloudtrain up` resumes it from its checkpoint")
