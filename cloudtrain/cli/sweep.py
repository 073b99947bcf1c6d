"""`cloudtrain sweep`: what providers hold of ours, found without any record, and its end."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import ask, print_json, print_rows, say
from cloudtrain.errors import Cancelled, CloudtrainError, MissingCredentials, TeardownIncomplete, UsageError
from cloudtrain.runs.sweep import Leftover, Looked
from cloudtrain.units import money, money_text, rfc3339

HEADERS = ("provider", "what", "id", "run", "$/h", "ends by", "why")


class Found(CloudtrainError):
    """Something was left over, and is gone now; told as a failure because it was asked for."""

    exit_code = 1


@click.command("sweep", short_help="Find what is ours at every provider, and delete it.")
@click.option("--provider", "providers", multiple=True, help="Only here; may be repeated.  [default: all]")
@click.option("-y", "--yes", is_flag=True, help="Delete without asking.")
@click.option("--all", "everything", is_flag=True, help="Everything of ours, also what is not past its deadline.")
@click.option("--fail-if-found", is_flag=True, help="Exit 1 when anything was left over, even if it is gone now (CI).")
@output_option()
def command(providers: tuple[str, ...], yes: bool, everything: bool, fail_if_found: bool, output: str) -> None:
    """Ask every provider for machines, disks and helpers of cloudtrain, and delete what should be gone.

    Looks in every region and on every page, by tag or name; needs no run record. What is not past its deadline and
    belongs to no ended run is listed and left alone.
    """
    from cloudtrain import settings
    from cloudtrain.runs import sweep

    clouds = sweep.clouds(providers)
    store, trouble = sweep.state()
    known = sweep.records(store)
    now = settings.now()
    answers = [sweep.look_at(name, cloud, known, now, everything) for name, cloud in clouds.items()]
    for words in [trouble, *known.unread]:
        if words:
            say(f"going on without some records: {words}")
    show(answers, output)
    for name in sorted(set(providers) - set(clouds)):
        say(f"{name}: has nothing to sweep; `cloudtrain down` ends its runs")
    due = [thing for answer in answers for thing in answer.things if thing.why]
    left = end(clouds, due, yes) if due else []
    unnamed = [answer for answer in sweep.unasked(answers) if not (providers and lacks_credentials(answer))]
    conclude(left, unnamed)
    for answer in answers:
        if providers and lacks_credentials(answer) and answer.error is not None:
            raise answer.error  # it was named: not a note, an error
    if due and fail_if_found:
        raise Found(f"{len(due)} left over; all gone now", "`cloudtrain events` of their runs may say why")


def lacks_credentials(answer: Looked) -> bool:
    """Whether nothing could be asked for want of credentials."""
    return isinstance(answer.error, MissingCredentials) and not answer.things


def conclude(left: list[tuple[Leftover, str]], silent: list[Looked]) -> None:
    """Raises TeardownIncomplete with what is left and what could not be asked, if there is any."""
    rows = [f"{t.provider} {t.owned.what} {t.owned.id} ({words}) {t.owned.console_url}".strip() for t, words in left]
    rows += [f"{answer.provider} could not be asked: {answer.error and answer.error.message}" for answer in silent]
    if rows:
        raise TeardownIncomplete("; ".join(rows), "cloudtrain sweep --yes")


def show(answers: list[Looked], output: str) -> None:
    """Everything found, as asked for; what could not be asked on stderr."""
    things = [thing for answer in answers for thing in answer.things]
    if output == "json":
        print_json([document(thing) for thing in things])
    elif things or output == "csv":
        print_rows(output, HEADERS, [row(thing) for thing in things])
    for answer in answers:
        if answer.error is not None:
            say(f"{answer.provider}: not {'wholly ' if answer.things else ''}asked: {answer.error.message}")
        elif not answer.things:
            say(f"{answer.provider}: nothing of ours")


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
    }


def row(thing: Leftover) -> list[str]:
    """A thing for a person."""
    owned = thing.owned
    price = money(owned.usd_per_hour) if owned.bills else "free"
    why = thing.why or "not due: left alone"
    return [thing.provider, owned.what, owned.id, owned.run, price, rfc3339(owned.expires) or "-", why]


def end(clouds: Any, due: list[Leftover], yes: bool) -> list[tuple[Leftover, str]]:
    """Delete what is due, asked first. Returns what is left."""
    from cloudtrain.runs import sweep

    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{len(due)} left over, and nobody is there to be asked", "-y deletes them without asking")
        if not ask(f"delete {len(due)}?", default=False):
            raise Cancelled("nothing was deleted; it goes on costing money")
    left = []
    for name, cloud in clouds.items():
        here = [thing for thing in due if thing.provider == name]
        if here:
            remaining = sweep.remove(cloud, here, time.sleep)
            say(f"{name}: {len(here) - len(remaining)} of {len(here)} gone")
            left += remaining
    return left
