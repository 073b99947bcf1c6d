"""`cloudtrain unlock`: remove a dead engine's lock from a run."""

from __future__ import annotations

import click

from cloudtrain.cli import words
from cloudtrain.cli.output import print_text
from cloudtrain.errors import NotFinished
from cloudtrain.runs.listing import find


@click.command("unlock")
@click.argument("run_name", metavar="RUN", shell_complete=words.runs)
@click.option(
    "--force",
    is_flag=True,
    help="Also a lock held from another machine, where it cannot be checked whether the process lives.",
)
def command(run_name: str, force: bool) -> None:
    """Remove the engine's lock on RUN when its owner is dead. A living owner keeps it."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    run = find(open_store(settings.load().state), run_name)
    unlock = run.stack.unlock
    removed, kept = unlock(run.id, run.store, force) if unlock else ([], [])
    for owner in removed:
        print_text(f"removed the lock of {owner}")
    if kept:
        raise NotFinished(f"run `{run.id}` is held by {'; '.join(kept)}", "end it there, or --force when that is dead")
    if not removed:
        print_text(f"run `{run.id}` is not locked")
