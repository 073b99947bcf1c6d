"""`cloudtrain attach`: follow a running run, as `up` does."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli import words


@click.command("attach", short_help="Follow RUN to its end and download its result.")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("--to", "home", type=click.Path(path_type=Path), help="Target folder of the result.  [default: ./RUN]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask: Ctrl-C leaves it running.")
def command(run_name: str | None, home: Path | None, yes: bool) -> None:
    """Follow RUN (or the newest run) to its end, download its result and end its machine.

    It works from any machine that can read the state. Ctrl-C asks whether to stop the run.
    """
    from cloudtrain import settings as settings_module
    from cloudtrain.cli.up.screen import Screen
    from cloudtrain.runs.client.options import UpOptions
    from cloudtrain.runs.client.session import Session
    from cloudtrain.runs.listing import find
    from cloudtrain.state.store import open_store

    settings, screen = settings_module.load(), Screen()
    run = find(open_store(settings.state), run_name)
    Session(UpOptions(home=home, yes=yes), settings, screen, screen.answer).attach(run)
