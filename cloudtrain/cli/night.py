"""`cloudtrain night`: what a schedule's file calls, what its nights came to, and its rehearsal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cloudtrain.cli.options import Dollars, Duration, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, state_cell
from cloudtrain.cli.tables import Column
from cloudtrain.providers import simulated

if TYPE_CHECKING:
    from cloudtrain.nights.options import TickOptions
    from cloudtrain.nights.tick import Ticked
    from cloudtrain.state.protocol import Store

F = TypeVar("F", bound=Callable[..., Any])
COLUMNS = (Column("schedule", fold=False), Column("night", fold=False), Column("outcome"), Column("run", fold=False),
           Column("begun", fold=False, drop=1), Column("message"))  # fmt: skip
MESSAGE_CHARACTERS = 100


@click.group("night", short_help="Nightly runs: the tick that a schedule's file calls, their history, a rehearsal.")
def command() -> None:
    """Nightly runs. `cloudtrain schedule SPEC` writes the file that calls `cloudtrain night tick SPEC`."""


def schedule_options(function: F) -> F:
    """The options of a schedule, as its file has them."""
    for option in reversed(
        (
            click.argument("spec", type=click.Path(path_type=Path)),
            click.option("--name", help="The schedule's name in the state.  [default: after the spec's file]"),
            click.option("--at", default="00:00", show_default=True, help="From when a night's run is due, HH:MM."),
            click.option("--timezone", default="UTC", show_default=True, help="Whose clock that is: Europe/Berlin."),
            click.option("--latest", type=Duration(), default="6h", show_default=True, help="How late it may begin."),
            click.option("--max-cost", type=Dollars(), help="End a run before it costs more."),
            click.option("--stop-above-cap", is_flag=True, help="As `up` takes it: stop once --max-cost may not do."),
            click.option("--budget-month", type=Dollars(), help="Start none that could bring the month above this."),
            click.option("--infra", multiple=True, help="Only this place: provider[/region[/zone]]; may be repeated."),
            click.option("--hardware", multiple=True, help="Only this hardware: KEY or KEY:COUNT; may be repeated."),
            click.option("--spot/--on-demand", default=None, help="Only spot, or nothing on spot."),
            click.option("--max-hours", type=Duration(), help="End a run after this long at the latest."),
            click.option("--experimental", is_flag=True, help="An experimental row may be chosen."),
            click.option("--accept-risk", is_flag=True, help="As `up` takes it."),
            click.option("--accept-stale", is_flag=True, help="As `up` takes it."),
            click.option("--hub-token-from", metavar="NAME", help="As `up` takes it."),
        )
    ):
        function = option(function)
    return function


@command.command("tick", short_help="Do what is due; for a timer.")
@schedule_options
@click.option("--comment", type=click.Choice(["issue", "pr"]), help="Keep one issue, or one comment, up to date.")
@click.option("--notify-from", metavar="VARIABLE", help="Tell the address in this variable what was done (JSON).")
def tick_command(**given: Any) -> int:
    """Look after living runs, begin tonight's if it is due, has changed and is within the budget, sweep, say so.

    It never waits for training, and may come late, twice or not at all. Exit code 0, or 100 when a run failed, 7 when a
    night was missed, 6 when something may be left over; 2 for a wrong option or spec.
    """
    from cloudtrain import settings
    from cloudtrain.cli.up.screen import Screen
    from cloudtrain.nights import ci, telling
    from cloudtrain.nights.tick import tick
    from cloudtrain.state.store import open_store

    environment = dict(os.environ)
    github, token = ci.is_github(environment), ci.stop_token()
    if github:  # what providers say must not be taken for commands
        click.echo(f"::stop-commands::{token}")
    try:
        options, now = tick_options(given), settings.load()
        ticked = tick(options, now, environment, Screen())
        told = telling.tell(open_store(now.state), options, ticked, environment)
        show(ticked, told)
    finally:
        if github:
            click.echo(f"::{token}::")
    for text in told.warnings:
        click.echo(ci.warning(text) if github else f"warning: {text}", err=not github)
    return ticked.tick.exit_code


def show(ticked: Ticked, told: Any) -> None:
    """Notes on stderr, the summary on stdout."""
    for note in (*ticked.notes, *told.done):
        print_message(note)
    click.echo(told.summary)


def show_rehearsed(store: Store, ticked: Ticked) -> None:
    """The summary of a rehearsed tick that did something; nobody but the person is told."""
    from cloudtrain.nights import book
    from cloudtrain.report import markdown

    if ticked.tick.outcome not in book.QUIET:
        click.echo(markdown.night_summary(store, **ticked.tick._asdict(), nights=ticked.nights))


def tick_options(given: dict[str, Any]) -> TickOptions:
    """What the command line said."""
    from cloudtrain.nights import owner
    from cloudtrain.nights.options import TickOptions
    from cloudtrain.nights.schedule.options import name_for

    spec: Path = given.pop("spec")
    name = given.pop("name") or name_for(owner.spec_path(spec))
    return TickOptions(spec=spec, name=name, latest_s=given.pop("latest"), **given)


@command.command("history", short_help="What the nights of NAME, or of all schedules, came to.")
@click.argument("name", required=False)
@click.option("-n", "--number", type=click.IntRange(1, 3660), default=30, show_default=True, help="Nights of each.")
@output_option()
def history_command(name: str | None, number: int, output: str) -> None:
    """What the nights of schedule NAME came to, newest first; without a name those of all schedules."""
    from cloudtrain import settings
    from cloudtrain.nights import history
    from cloudtrain.runs.listing import refuse_damaged
    from cloudtrain.state.store import open_store

    store = open_store(settings.load().state)
    rows, damaged = history.rows(store, name, number)
    if output == "json":
        print_json([row.document() for row in rows])
    else:
        print_rows(output, COLUMNS, [line(row, output) for row in rows])
    for sentence in history.last_ticks(store, settings.now()) if output == "table" else ():
        print_message(sentence)
    refuse_damaged(damaged)


def line(row: Any, output: str) -> list[str]:
    """One night for a person."""
    from cloudtrain.units import rfc3339

    night = row.night
    outcome, begun = state_cell(night.outcome or "open", output), rfc3339(night.begun) or "-"
    return [row.schedule, night.date, outcome, night.run or "-", begun, shortened(night.message)]


def shortened(message: str) -> str:
    """A message of at most MESSAGE_CHARACTERS, without its last words where it is longer."""
    if len(message) <= MESSAGE_CHARACTERS:
        return message
    return message[: MESSAGE_CHARACTERS - 3].rpartition(" ")[0] + " ..."


@command.command("rehearse", short_help="A whole night of SPEC on a fake cloud, from the tick to the summary.")
@schedule_options
@click.option("--on", "provider", type=click.Choice(simulated()), default="aws", show_default=True)
def rehearse_command(provider: str, **given: Any) -> None:
    """One night of SPEC on a fake cloud on this machine: tick after tick until its run has ended, a sweep, the summary.

    No account is used and nothing is kept. A small model trains for the spec's; it takes some minutes.
    """
    from cloudtrain.cli.up import simulating

    simulating.rehearse(provider, tick_options(given), show_rehearsed)
