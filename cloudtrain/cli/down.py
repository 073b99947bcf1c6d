"""`cloudtrain down`: end runs, with proof."""

from __future__ import annotations

import click

from cloudtrain.cli import words
from cloudtrain.cli.output import print_message, print_text
from cloudtrain.errors import UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import StopOptions
from cloudtrain.runs.teardown import Ended, end_runs, only_one, readable
from cloudtrain.units import hours, money, rfc3339


@click.command("down")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("-a", "--all", "everything", is_flag=True, help="Every run of this state that is not gone.")
@click.option("-y", "--yes", is_flag=True, help="Accepted and ignored: `down` never asks.")
@click.option("--force", is_flag=True, help="Override the lock of a client on another machine.")
def command(run_name: str | None, everything: bool, yes: bool, force: bool) -> None:
    """End RUN, or the only one that is not gone, with proof. Results, checkpoints and logs stay. Idempotent."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    if everything and run_name is not None:
        raise UsageError("--all ends every run", "leave one of the two out")
    store = open_store(settings.load().state)
    if not everything and run_name is None and (run_name := only_one(store)):
        print_message(f"the only run that is not gone: {run_name}")
    stopping = StopOptions(GRACE_S, force, lambda text: print_message(f"  {text}"))
    if not (everything or run_name) or not end_runs(store, run_name, stopping, show):
        print_message("nothing to end")


def show(ended: Ended) -> None:
    """What was proven of one run."""
    run, proof = ended.run, ended.proof
    if proof is not None:
        spent = readable(run.spent_usd)
        print_text(
            f"{run.id}: gone ({proof.answer}, said {proof.said_by} at {rfc3339(proof.time)}); "
            f"was {ended.was}, billed {hours(proof.billed_s)}, {money(spent)}"
        )
    print_text(f"  kept: {run.store.place(run.key(''))}")
