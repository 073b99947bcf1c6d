"""`cloudtrain pull`: download a run's result."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli import words
from cloudtrain.cli.output import print_message


@click.command("pull", short_help="Copy the adapter of RUN, and what belongs to it, here.")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("--to", "target", type=click.Path(path_type=Path), help="Target folder.  [default: ./RUN]")
@click.option("--merge", is_flag=True, help="Also write the base model with the adapter merged in, to TARGET/merged.")
def command(run_name: str | None, target: Path | None, merge: bool) -> None:
    """Copy adapter, tokenizer, metrics and model card of RUN (or of the newest run) to a folder."""
    from cloudtrain import settings
    from cloudtrain.runs.listing import find
    from cloudtrain.runs.results import pull
    from cloudtrain.state.store import open_store

    run = find(open_store(settings.load().state), run_name)
    home = pull.pull(run, target or Path(run.id))
    click.echo(home)
    if merge:
        print_message("merging the adapter into the base model")
        click.echo(pull.merge(run, home, home / "merged"))
