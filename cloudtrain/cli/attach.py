"""`cloudtrain attach`: stay with a living run, as `up` does."""

from __future__ import annotations

from pathlib import Path

import click

from cloudtrain.cli.output import say


@click.command("attach", short_help="Follow RUN to its end and bring its result home.")
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--to", "home", type=click.Path(path_type=Path), help="Where the result goes.  [default: ./RUN]")
@click.option("-y", "--yes", is_flag=True, help="Do not ask: Ctrl-C leaves it running.")
def command(run_name: str | None, home: Path | None, yes: bool) -> None:
    """Follow RUN (or the newest run) to its end, bring its result home and end its machine.

    It works from any machine that can read the state. Ctrl-C leaves the run or stops it, as you say.
    """
    from cloudtrain import settings
    from cloudtrain.cli.up import watching
    from cloudtrain.errors import NotFinished, TeardownIncomplete
    from cloudtrain.runs.record import find
    from cloudtrain.state.store import open_store

    run = find(open_store(settings.load().state), run_name)
    given = {"home": home, "yes": yes, "detach": False}
    unproven = not run.stack.direct and run.gone is None
    if run.state in ("running", "unknown") or (unproven and run.machine is not None):
        return watching.follow(run, given)
    if run.state == "starting":
        raise NotFinished(
            f"run `{run.id}` is starting: no machine of it is known yet",
            f"the same again in a moment; `cloudtrain poll {run.id}` when whoever began it is gone",
        )
    if unproven:
        raise TeardownIncomplete(
            f"somebody asked for the end of run `{run.id}`, and it is not proven yet", f"cloudtrain down {run.id}"
        )
    say(f"run `{run.id}` is {run.state}")
    return watching.conclude(run, given)
