"""`cloudtrain poll`: one look at each rented run, and what has to be done about it; for a timer, from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows, say
from cloudtrain.errors import CloudtrainError, NotFinished, TeardownIncomplete, UsageError
from cloudtrain.runs.record import Run, find, readable_runs, refuse_damaged

HEADERS = ("run", "state", "attempt", "step", "what was done")


class Polled(NamedTuple):
    """What one look came to. `over`: nothing is left to be done for the run."""

    run: Run
    over: bool
    words: str
    home: Path | None
    error: CloudtrainError | None


@click.command("poll", short_help="Look at RUN once and do what is due: end it, or go on elsewhere.")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Every rented run of this state that is not over.")
@click.option("--finish", is_flag=True, help="Bring the results of finished runs home as well.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Where to.  [default: ./RUN]")
@output_option()
def command(run_name: str | None, everything: bool, finish: bool, target: Path | None, output: str) -> None:
    """Look at RUN (or the newest run) once: end what is over, go on with what was taken away.

    Exit code 0 when all of them are over, 101 when one goes on, 6 when one could not be proven gone.
    """
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    if everything and (run_name is not None or target is not None):
        raise UsageError("--all looks at every run", "name one run, or leave --to away")
    store = open_store(settings.load().state)
    found, damaged = readable_runs(store) if everything else ([find(store, run_name)], [])
    polled = [look(run, finish, target) for run in found if wanted(run, everything)]
    if output == "json":
        print_json([document(each) for each in polled])
    else:
        print_rows(output, HEADERS, [row(each) for each in polled])
    refuse_damaged(damaged)
    verdict(polled)


def wanted(run: Run, everything: bool) -> bool:
    """Whether there is something to look after: all runs include those that are over, or idle, or here."""
    from cloudtrain.runs import reconcile

    if run.stack.direct or run.intent.idle:
        if not everything:
            raise UsageError(f"run `{run.id}` has no job on a rented machine", "`cloudtrain ps` shows its state")
        return False
    return not everything or not reconcile.is_over(run)


def look(run: Run, finish: bool, target: Path | None) -> Polled:
    """One run, under its lease: another client that is on it is left alone."""
    from cloudtrain.state.protocol import AlreadyThere

    try:
        with run.store.hold(run.key("client.lock")):
            return looked(Run(run.store, run.id), finish, target)
    except AlreadyThere as held:
        return Polled(run, False, f"another client is on it: {held.message}", None, None)


def looked(run: Run, finish: bool, target: Path | None) -> Polled:
    """What is done about one run."""
    from cloudtrain.cli.up.watching import failure
    from cloudtrain.runs import measurements, pull, reconcile

    before, attempt = run.gone, run.intent.attempt
    run, error = reconcile.outcome(run, lambda text: say(f"  {text}"))
    over = error is None and reconcile.is_over(run)
    home = None
    if over and run.state in ("finished", "failed"):
        measurements.learn(run)
    if over and run.state == "finished":
        home = pull.pull(run, target or Path(run.id)) if finish else None
    if error is not None:
        words = error.message
    elif run.intent.attempt != attempt:
        words = f"goes on on another machine, {run.machine.id if run.machine else None}"
    elif over:
        words = "its machine is gone" if before is None else "nothing was left to do"
        words += f"; result in {home}" if home else ""
        words += f"; {failure(run).message}" if run.state == "failed" else ""
    else:
        words = "goes on"
    return Polled(run, over, words, home, error)


def document(polled: Polled) -> dict[str, Any]:
    """One look for JSON; see `cloudtrain schema poll`."""
    run = polled.run
    figures = run.figures
    return {
        "run": run.id,
        "state": run.state,
        "attempt": run.intent.attempt,
        "step": figures.step if figures else None,
        "of": figures.of if figures else None,
        "over": polled.over,
        "done": polled.words,
        "home": None if polled.home is None else str(polled.home),
    }


def row(polled: Polled) -> list[str]:
    """One look for a person."""
    figures = polled.run.figures
    step = figures.steps if figures else "-"
    return [polled.run.id, polled.run.state, str(polled.run.intent.attempt), step, polled.words]


def verdict(polled: list[Polled]) -> None:
    """Raises by what is left to be done."""
    errors = [each.error for each in polled if each.error is not None]
    for error in errors:
        if isinstance(error, TeardownIncomplete):
            raise error
    if any(not each.over for each in polled):
        left = ", ".join(each.run.id for each in polled if not each.over)
        raise NotFinished(f"not over: {left}", "`cloudtrain poll` again later, or `cloudtrain attach` to stay with it")
