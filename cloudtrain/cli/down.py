"""`cloudtrain down`: end runs, with proof."""

from __future__ import annotations

import click

from cloudtrain.cli import words
from cloudtrain.cli.output import print_message, print_text
from cloudtrain.errors import UsageError
from cloudtrain.plan import GRACE_S
from cloudtrain.providers import StopOptions
from cloudtrain.runs.teardown import Ended, end_runs, readable
from cloudtrain.units import hours, money, rfc3339


@click.command("down")
@click.argument("run_name", metavar="[RUN]", required=False, shell_complete=words.runs)
@click.option("-a", "--all", "everything", is_flag=True, help="Every run of this state that is not gone.")
@click.option("-y", "--yes", is_flag=True, help="Accepted and ignored: `down` never asks.")
@click.option("--force", is_flag=True, help="Override the lock of a client on another machine.")
def command(run_name: str | None, everything: bool, yes: bool, force: bool) -> None:
    """End RUN and prove that it is gone. Results, checkpoints and logs stay. Idempotent."""
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    if everything == (run_name is not None):
        raise UsageError("say which run", "`cloudtrain down RUN` or `cloudtrain down --all`")
    stopping = StopOptions(GRACE_S, force, lambda text: print_message(f"  {text}"))
    if not end_runs(open_store(settings.load().state), run_name, stopping, show):
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
