"""Check rented runs once and act: tear down, start the next machine, download the result."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cloudtrain.errors import Cancelled, CloudtrainError, NotFinished, ProviderError, TeardownIncomplete, UsageError
from cloudtrain.runs import reconcile
from cloudtrain.runs.events import Emit
from cloudtrain.runs.listing import find, readable_runs, refuse_damaged, tell_each
from cloudtrain.runs.record import Run
from cloudtrain.runs.results import measurements, outcome, pull, remaining
from cloudtrain.state.protocol import AlreadyThere, Store


class PollOptions(NamedTuple):
    """`finish`: bring the results of finished runs home as well, to `home`, else to a folder called like the run."""

    finish: bool = False
    home: Path | None = None


class Polled(NamedTuple):
    """The result of one check. `over`: nothing is left to be done for the run; `done`: what was done, as text."""

    run: Run
    over: bool
    done: str
    home: Path | None
    error: CloudtrainError | None


class PollReport(NamedTuple):
    """What was done about each run, and a message for every one that cannot be read."""

    polled: list[Polled]
    damaged: list[str]

    def raise_for_rest(self) -> None:
        """Raises by what is left to be done: UsageError, TeardownIncomplete, NotFinished."""
        refuse_damaged(self.damaged)
        for each in self.polled:
            if isinstance(each.error, TeardownIncomplete):
                raise each.error
        left = [each.run.id for each in self.polled if not each.over]
        if left:
            raise NotFinished(
                f"not ended: {', '.join(left)}", "`cloudtrain poll` again later, or `cloudtrain attach` to follow it"
            )


def poll(store: Store, name: str | None, everything: bool, options: PollOptions, emit: Emit) -> PollReport:
    """Look at the run of that name (None: see `newest`), or at every rented run that is not over.

    Raises UsageError for a named run that has no job on a rented machine, RunNotFound.
    """
    if not everything:
        run = newest(store) if name is None else find(store, name)
        return PollReport([look(run, options, emit)] if is_due(run, everything) else [], [])
    found, damaged = readable_runs(store)
    polled, more = tell_each(found, lambda run: look_guarded(run, options, emit) if is_due(run, everything) else None)
    return PollReport([each for each in polled if each is not None], [*damaged, *more])


def newest(store: Store) -> Run:
    """The newest run with a job on a rented machine that is not over, else of those that are; else the newest at all.

    Raises RunNotFound, and UsageError for a record that cannot be read.
    """
    found, _ = readable_runs(store)
    rented = [run for run in found if not (run.stack.direct or run.intent.idle)]
    return next((run for run in rented if not reconcile.is_over(run)), None) or next(iter(rented), find(store, None))


def look_guarded(run: Run, options: PollOptions, emit: Emit) -> Polled:
    """One run of many: what ends its check is an error of its own, and the others are looked at."""
    try:
        return look(run, options, emit)
    except UsageError:  # of the state, or of a record: the list says so
        raise
    except CloudtrainError as error:
        return Polled(Run(run.store, run.id), False, error.message, None, error)


def is_due(run: Run, everything: bool) -> bool:
    """Whether there is something to look after: all runs include those that are over, or idle, or here."""
    if run.stack.direct or run.intent.idle:
        if not everything:
            raise UsageError(f"run `{run.id}` has no job on a rented machine", "`cloudtrain ps` shows its state")
        return False
    return not everything or not reconcile.is_over(run)


def look(run: Run, options: PollOptions, emit: Emit) -> Polled:
    """One run, under its lease: another client that is on it is left alone."""
    try:
        with run.store.hold(run.key("client.lock")):
            return look_alone(Run(run.store, run.id), options, emit)
    except AlreadyThere as held:
        return Polled(run, False, f"another client holds it: {held.message}", None, None)


def look_alone(run: Run, options: PollOptions, emit: Emit) -> Polled:
    """What is done about one run by who holds its lease."""
    before, attempt = run.gone, run.intent.attempt
    run, error = act(run, emit)
    over = error is None and reconcile.is_over(run)
    home = None
    if over and run.state in ("finished", "failed"):
        measurements.learn(run)
    if over and run.state == "finished" and options.finish:
        home = pull.pull(run, options.home or Path(run.id))
    if error is not None:
        done = error.message
    elif run.intent.attempt != attempt:
        verb = "goes on" if run.attempts and run.attempts[-1].addresses_ended else "restarted"
        done = f"{verb} on another machine, {run.machine.id if run.machine else None}"
    elif over:
        done = "its machine is gone" if before is None else "nothing to do"
        done += f"; result in {home}" if home else ""
        done += f"; {outcome.failure(run).message}" if run.state == "failed" else ""
        done += f"; {outcome.stopped_above_cap(run).message}" if outcome.is_above_cap(run) else ""
    else:
        done = "; ".join(["continues", *(rest.warnings() if (rest := remaining.of_run(run, run.heartbeat)) else [])])
    return Polled(run, over, done, home, error)


def act(run: Run, emit: Emit) -> tuple[Run, CloudtrainError | None]:
    """Check and act; returns the error that prevented it."""
    try:
        run = reconcile.adopt_orphan(run)
        return reconcile.reconcile(run, reconcile.look(run), emit), None
    except ProviderError as error:
        return Run(run.store, run.id), error
    except Cancelled:  # by `down`, while its next machine was looked for
        return Run(run.store, run.id), None
