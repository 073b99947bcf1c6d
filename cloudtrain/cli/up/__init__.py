"""`cloudtrain up`: check, plan, ask, run, download, tear down. Here are its options; `runs/client` does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import Dollars, Duration
from cloudtrain.errors import UsageError
from cloudtrain.providers import simulated
from cloudtrain.runs.client.options import SPEC_FILE, UpOptions
from cloudtrain.units import SECONDS_PER_HOUR


@click.command("up", short_help="Fine-tune as the spec says, on the cheapest offer.")
@click.argument("arguments", nargs=-1, metavar="[SPEC] [KEY=VALUE]...")
@click.option("-f", "--file", "spec_file", type=click.Path(path_type=Path), help=f"The spec.  [default: {SPEC_FILE}]")
@click.option(
    "--infra",
    multiple=True,
    shell_complete=words.places,
    help="Only this place: provider[/region[/zone]]; may be repeated.",
)
@click.option(
    "--hardware",
    multiple=True,
    shell_complete=words.hardware,
    help="Only this hardware: KEY or KEY:COUNT; may be repeated.",
)
@click.option(
    "--row", shell_complete=words.rows, metavar="ID", help="Only this row of the quote: runpod/mi300x/eu-ro-1."
)
@click.option("--backend", metavar="NAME", help="Only this trainer: torch, or tpu (JAX, also on a processor).")
@click.option("--spot/--on-demand", default=None, help="Only spot, or nothing on spot.")
@click.option(
    "--max-hours",
    "--ttl",
    "max_hours",
    type=Duration(),
    help="End the run after this long at the latest.",
)
@click.option("--max-cost", type=Dollars(), help="End the run before it costs more.")
@click.option(
    "--stop-above-cap",
    is_flag=True,
    help="Save and stop as soon as the run's own rate says that --max-cost may not do.",
)
@click.option(
    "--budget-month",
    "month_usd",
    type=Dollars(),
    help="Start only if this month's runs stay within so much; tightens `cloudtrain budget`.",
)
@click.option(
    "--trainer",
    type=click.Choice(["fast", "plain"]),
    help="The spec's `trainer`, `plain` unless it says so. `fast` is experimental: faster on processors, not yet in "
    "quotes, whose hours and memory are those of `plain`.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-d", "--detach", is_flag=True, help="Start it and return; `cloudtrain logs -f` follows.")
@click.option("--dry-run", "--dryrun", is_flag=True, help="Check and show the plan; start nothing.")
@click.option("--new", is_flag=True, help="Start another run of the same spec instead of resuming it.")
@click.option("-n", "--name", help="Name of a new run.  [default: model, method and six digits]")
@click.option("--to", "home", type=click.Path(path_type=Path), help="Target folder of the result.  [default: ./RUN]")
@click.option("--experimental", is_flag=True, help="An experimental row may be chosen.")
@click.option(
    "--accept-risk",
    is_flag=True,
    help="Start even with fewer than two guards that work without this client, or with credentials of unknown end.",
)
@click.option(
    "--no-learn", "teaches", is_flag=True, default=True, flag_value=False, help="Later quotes learn nothing from it."
)
@click.option("--machine-only", is_flag=True, help="Rent the machine that the quote would choose, and leave it idle.")
@click.option(
    "--max-restarts",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="How many times a preempted machine is replaced.",
)
@click.option(
    "--segments",
    is_flag=True,
    help="A run longer than the credentials of the state goes on on further machines, each with renewed ones.",
)
@click.option(
    "--hub-token-from",
    metavar="NAME",
    help="Variable or file with a read-only token of the hub that rented machines use in this run, for gated models.",
)
@click.option("--accept-stale", is_flag=True, help="Start at a quoted price older than 90 days that cannot be checked.")
@click.option(
    "--simulate",
    type=click.Choice(simulated()),
    metavar="CLOUD",
    help=f"Simulate it on a fake cloud on this machine: {', '.join(simulated())}; without a spec, with the demo's.",
)
def command(
    arguments: tuple[str, ...],
    spec_file: Path | None,
    max_hours: float | None,
    simulate: str | None,
    trainer: str | None,
    **others: Any,
) -> None:
    """Fine-tune as the spec says, on the cheapest offer that works.

    Running `up` again with the same spec attaches to a running run, resumes a stopped one, and reports a finished one.
    KEY=VALUE changes one field, for example lora.rank=8.
    """
    named = named_spec(arguments, spec_file)
    overrides = tuple(argument for argument in arguments if "=" in argument)
    if trainer is not None:
        overrides += (f"trainer={trainer}",)
    options = UpOptions(
        spec=named or Path(SPEC_FILE),
        overrides=overrides,
        max_hours=max_hours / SECONDS_PER_HOUR if max_hours else None,
        **others,
    )
    if simulate:
        from cloudtrain.cli.up import simulating

        return simulating.simulate(simulate, options, has_spec=named is not None)
    if named is None and not options.spec.exists():
        raise UsageError(f"there is no `{SPEC_FILE}` here", "`cloudtrain init MODEL DATA` writes one")
    from cloudtrain import settings
    from cloudtrain.cli.up.screen import Screen
    from cloudtrain.runs.client.session import Session

    screen = Screen()
    Session(options, settings.load(), screen, screen.answer).up()
    return None


def named_spec(arguments: tuple[str, ...], spec_file: Path | None) -> Path | None:
    """The spec that the words of the command line name, besides `key=value` overrides. Raises UsageError for two."""
    files = [argument for argument in arguments if "=" not in argument]
    if len(files) + (spec_file is not None) > 1:
        raise UsageError(f"more than one spec is named: {', '.join(files)}", "overrides are written key=value")
    return spec_file or (Path(files[0]) if files else None)
