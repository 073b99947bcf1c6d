"""`cloudtrain extend`: more time for a run, where that can be honoured."""

from __future__ import annotations

import click

from cloudtrain.cli.options import Duration
from cloudtrain.errors import UsageError
from cloudtrain.runs.record import find
from cloudtrain.units import rfc3339


@click.command("extend", short_help="Give RUN more time.")
@click.argument("run_name", metavar="RUN")
@click.argument("duration", metavar="HOURS", type=Duration())
def command(run_name: str, duration: float) -> None:
    """Give RUN so much more time, if what ends it can still be moved.

    The limits of a run are armed with its machine and outlive this client: none of today's can be moved. It is said so,
    with what to do instead, and nothing is changed.
    """
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    run = find(open_store(settings.load().state), run_name)
    deadline = rfc3339(run.intent.deadline)
    if run.state not in ("running", "starting", "unknown"):
        raise UsageError(f"run `{run.id}` is {run.state}", "`cloudtrain up --max-hours` goes on with it for longer")
    limits = ", ".join(run.intent.guards)
    again = f"`cloudtrain up --max-hours {duration / 3600:g}h` with its spec goes on from its last checkpoint"
    raise UsageError(
        f"run `{run.id}` ends at {deadline}, and what ends it cannot be moved any more ({limits})",
        again if not run.intent.idle else "rent another machine before this one ends",
    )
