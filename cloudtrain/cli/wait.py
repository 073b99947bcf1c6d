"""`cloudtrain wait`: wait for a run; the exit code says how it ended."""

from __future__ import annotations

import time

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import Duration
from cloudtrain.cli.output import print_text
from cloudtrain.errors import NotFinished
from cloudtrain.runs.listing import find
from cloudtrain.runs.record import Run

QUICK_S, SLOW_S = 0.5, 15.0  # between two looks: at a run on this machine, at a rented one


@click.command("wait", short_help="Wait until RUN has ended; the exit code says how.")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("--timeout", type=Duration(), help="Stop waiting after 10m, 2h ...; the exit code is 101 then.")
def command(run_name: str | None, timeout: float | None) -> None:
    """Wait until RUN (or the newest run) has ended: 0 finished, 100 failed, 101 stopped early, 103 cancelled.

    Nothing is brought home and nothing is ended by it: `cloudtrain poll --finish` does that.
    """
    from cloudtrain import settings
    from cloudtrain.runs import reconcile
    from cloudtrain.runs.results import outcome
    from cloudtrain.state.store import open_store

    run = find(open_store(settings.load().state), run_name)
    give_up = None if timeout is None else time.monotonic() + timeout
    while reconcile.may_continue(run):
        if give_up is not None and time.monotonic() >= give_up:
            raise NotFinished(f"run `{run.id}` is still {run.state}", f"`cloudtrain wait {run.id}` waits on")
        time.sleep(QUICK_S if run.stack.direct else pause_s(run))
        run = Run(run.store, run.id)
    print_text(f"{run.id}: {run.state}")
    outcome.check_finished(run)


def pause_s(run: Run) -> float:
    """Seconds between two polls of a rented run."""
    from cloudtrain.runs import remote

    return min(SLOW_S, remote.pace(run.intent.provider).exit_s)
