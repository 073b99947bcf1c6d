"""`cloudtrain sweep`: find leftovers at providers without any record, and delete them."""

from __future__ import annotations

import sys
from typing import Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import ask, print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.runs.leftovers.judging import Leftover
from cloudtrain.runs.sweep import Listed, ProviderAnswer, Removed
from cloudtrain.units import money, money_text, rfc3339

COLUMNS = (Column("provider"), Column("what"), Column("id", fold=False), Column("run", fold=False, drop=2),
           figure("$/h"), Column("ends by", fold=False, drop=1), Column("why"))  # fmt: skip


@click.command("sweep", short_help="Find what is ours at every provider, and delete it.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    shell_complete=words.providers,
    help="Only this provider; may be repeated.  [default: all]",
)
@click.option("-y", "--yes", is_flag=True, help="Delete without asking.")
@click.option("--all", "everything", is_flag=True, help="Everything of ours, also what is not past its deadline.")
@click.option("--all-states", is_flag=True, help="Also what runs of other states hold, before its deadline.")
@click.option("--fail-if-found", is_flag=True, help="Exit 1 when anything was left over, even if it is gone now (CI).")
@output_option()
def command(
    providers: tuple[str, ...], yes: bool, everything: bool, all_states: bool, fail_if_found: bool, output: str
) -> None:
    """List the machines, disks and auxiliary resources of cloudtrain at every provider, and delete what should be gone.

    Looks in every region and on every page, by tag or name; needs no run record. What is not past its deadline and
    belongs to no ended run is listed and left alone; so is what belongs to another state, until its deadline.
    """
    from cloudtrain.runs.sweep import SweepOptions, sweep

    def emit(event: Listed | Removed) -> None:
        if isinstance(event, Removed):
            return print_message(f"{event.provider}: {event.gone} of {event.of} gone")
        for message in event.unread:
            print_message(f"continuing without some records: {message}")
        show(event.answers, output)
        for name in event.no_cloud:
            print_message(f"{name}: has nothing to sweep; `cloudtrain down` ends its runs")
        return None

    sweep(SweepOptions(providers, everything, fail_if_found, all_states), yes or may_delete, emit)


def may_delete(count: int) -> bool:
    """Ask whether to delete so many. Raises UsageError without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(f"{count} left over, and there is no terminal to ask on", "-y deletes them without asking")
    return ask(f"delete {count}?", default=False)


def show(answers: list[ProviderAnswer], output: str) -> None:
    """Everything found, as asked for; what could not be asked on stderr."""
    things = [thing for answer in answers for thing in answer.things]
    if output == "json":
        print_json([document(thing) for thing in things])
    elif things or output == "csv":
        print_rows(output, COLUMNS, [row(thing) for thing in things])
    for answer in answers:
        if answer.error is not None:
            print_message(f"{answer.provider}: not {'wholly ' if answer.things else ''}asked: {answer.error.message}")
        elif not answer.things:
            print_message(f"{answer.provider}: nothing of ours")


def document(thing: Leftover) -> dict[str, Any]:
    """A thing for JSON; see `cloudtrain schema sweep`."""
    owned = thing.owned
    return {
        "provider": thing.provider,
        "kind": owned.kind,
        "what": owned.what,
        "id": owned.id,
        "run_key": owned.run,
        "bills": owned.bills,
        "price_usd_per_hour": money_text(owned.usd_per_hour),
        "deadline_at": rfc3339(owned.expires),
        "console_url": owned.console_url,
        "left_over": bool(thing.why),
        "why": thing.why,
        "other_state": thing.other,
    }


def row(thing: Leftover) -> list[str]:
    """A thing for a person."""
    owned = thing.owned
    price = money(owned.usd_per_hour) if owned.bills else "free"
    why = thing.why or (f"of another state, {thing.other}: left alone" if thing.other else "not due: left alone")
    return [thing.provider, owned.what, owned.id, owned.run, price, rfc3339(owned.expires) or "-", why]
