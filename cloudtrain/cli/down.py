"""`cloudtrain down`: end runs, with proof."""

from __future__ import annotations

import click

from cloudtrain.cli.output import say
from cloudtrain.errors import CloudtrainError, TeardownIncomplete, UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import StopOptions
from cloudtrain.runs.record import Run, find, readable_runs
from cloudtrain.units import hours, money, rfc3339


@click.command("down")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Every run of this state that is not gone.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; accepted for the habit: `down` never asks.")
@click.option("--force", is_flag=True, help="Overrule a client on another machine that holds the run.")
def command(run_name: str | None, everything: bool, yes: bool, force: bool) -> None:
    """End RUN and prove that it is gone. Results, checkpoints and logs stay. Doing it twice is fine."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    if everything == (run_name is not None):
        raise UsageError("say which run", "`cloudtrain down RUN` or `cloudtrain down --all`")
    store = open_store(settings.load().state)
    found, damaged = readable_runs(store) if everything else ([find(store, run_name)], [])
    runs = [run for run in found if run.gone is None or not everything]
    if not runs and not damaged:
        say("nothing to end")
    sweep = "`cloudtrain sweep` finds what such a run may have rented"
    failures: list[CloudtrainError] = [UsageError(message, sweep) for message in damaged]
    failures += [error for run in runs if (error := end(run, force)) is not None]
    if not failures:
        return
    message, hint = "; ".join(e.message for e in failures), "\n".join(dict.fromkeys(e.hint for e in failures))
    if all(isinstance(error, UsageError) for error in failures):
        raise UsageError(message, hint)  # gone, all of them, but not written down
    raise TeardownIncomplete(message, hint)


def end(run: Run, force: bool) -> CloudtrainError | None:
    """End one run and say what was proven; a failure is given back, so that the others are ended too."""
    from cloudtrain.runs import teardown

    was = run.state
    try:
        gone = teardown.down(run, StopOptions(GRACE_S, force, lambda text: say(f"  {text}"))).gone
    except CloudtrainError as error:
        return error
    if gone is not None:
        click.echo(
            f"{run.id}: gone ({gone.answer}, said {gone.said_by} at {rfc3339(gone.time)}); "
            f"was {was}, billed {hours(gone.billed_s)}, {money(run.spent_usd())}"
        )
    click.echo(f"  kept: {run.store.place(run.key(''))}")
    return None
