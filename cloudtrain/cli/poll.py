"""`cloudtrain poll`: checks each rented run once and acts; for a timer, from any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows, state_cell
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.runs.poll import Polled, PollOptions

COLUMNS = (Column("run", fold=False), Column("state"), figure("attempt", drop=1), figure("step", drop=2),
           Column("what was done"))  # fmt: skip


@click.command("poll", short_help="Check RUN once and act: tear it down, or restart it.")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("-a", "--all", "everything", is_flag=True, help="Every rented run of this state that has not ended.")
@click.option("--finish", is_flag=True, help="Also download the results of finished runs.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Target folder.  [default: ./RUN]")
@output_option()
def command(run_name: str | None, everything: bool, finish: bool, target: Path | None, output: str) -> None:
    """Check RUN (or the newest rented one that is not over) once and act: tear it down, or restart it elsewhere.

    Exit code 0 when all have ended, 101 when one continues, 6 when one could not be proven gone.
    """
    from cloudtrain import settings
    from cloudtrain.cli.up.screen import Screen
    from cloudtrain.runs.poll import poll
    from cloudtrain.state.store import open_store

    if everything and (run_name is not None or target is not None):
        raise UsageError("--all checks every run", "name one run, or omit --to")
    report = poll(open_store(settings.load().state), run_name, everything, PollOptions(finish, target), Screen())
    if output == "json":
        print_json([document(each) for each in report.polled])
    else:
        print_rows(output, COLUMNS, [row(each, output) for each in report.polled])
    report.raise_for_rest()


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
        "done": polled.done,
        "home": None if polled.home is None else str(polled.home),
    }


def row(polled: Polled, output: str) -> list[str]:
    """One look for a person."""
    figures = polled.run.figures
    step = figures.steps if figures else "-"
    return [polled.run.id, state_cell(polled.run.state, output), str(polled.run.intent.attempt), step, polled.done]
