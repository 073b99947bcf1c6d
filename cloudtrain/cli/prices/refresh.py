"""`cloudtrain prices refresh`: today's prices from the providers, where they pass the gate."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import Duration, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, print_text, state_cell
from cloudtrain.cli.prices.wording import change, hourly, number, place, share
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import CloudtrainError, MissingCredentials, Permission, Quota, Unavailable, UsageError
from cloudtrain.units import exact_text, rfc3339

if TYPE_CHECKING:
    from cloudtrain.prices.records import Change, Held
    from cloudtrain.prices.refresh import Outcome

COLUMNS = (Column("provider", fold=False), Column("result"), figure("answered"), figure("kept"), figure("held"),
           figure("gone"), figure("unlisted", drop=1))  # fmt: skip
RESULTS = {"no_credentials": "no credentials", "unanswered": "no answer", "refused": "refused"}
ACCESS = (MissingCredentials, Permission, Quota)
MOST_NAMED = 3  # of things of one kind, in a sentence


class Seconds(Duration):
    """A length of time in seconds; a bare number counts in seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return super().convert(f"{value}s" if str(value).replace(".", "", 1).isdecimal() else value, param, ctx)


@click.command("refresh", short_help="Ask the providers for today's prices.")
@click.option(
    "--provider",
    "providers",
    multiple=True,
    shell_complete=words.askable,
    help="Ask only this one; may be repeated.  [default: all]",
)
@click.option("--dry-run", is_flag=True, help="Ask and judge, and keep nothing.")
@click.option("--accept-jumps", is_flag=True, help="Take prices that jumped without waiting for a second answer.")
@click.option("--timeout", "timeout_s", type=Seconds(), default="60s", show_default=True, help="For all of it.")
@output_option()
def command(providers: tuple[str, ...], dry_run: bool, accept_jumps: bool, timeout_s: float, output: str) -> None:
    """Ask the providers for today's prices, judge what they answer, and let `quote` count on it.

    Nothing is rented, and nothing of yours is sent but a provider's own key. A list is wholly the old one or wholly the
    new one. A price that jumped is held: the old one counts until a second refresh, six hours later or more, agrees.
    What a provider no longer offers becomes unknown.

    Exit codes: 0 what was asked is renewed; 2 prices that cannot be right were refused, the old ones count; 4 a named
    provider, or every one, lacks credentials; 7 a provider did not answer. Without --provider those without a key here
    are passed over.
    """
    from cloudtrain import settings
    from cloudtrain.prices.refresh import refresh

    found = refresh(
        providers or None,
        now=settings.now(),
        dry_run=dry_run,
        accept_jumps=accept_jumps,
        timeout_s=timeout_s,
        say=print_message if sys.stderr.isatty() else lambda text: None,
    )
    show(found, output, dry_run)
    if error := failure(found, providers):
        raise error


def show(found: Sequence[Outcome], output: str, dry_run: bool) -> None:
    """A line for each provider, and what to know of it."""
    if output == "json":
        print_json([document(each) for each in found])
        return
    print_rows(output, COLUMNS, [row(each, output, dry_run) for each in found])
    said = [f"{each.provider}: {sentence}" for each in found for sentence in sentences(each, dry_run)]
    if output == "table" and said:
        click.echo()
        for sentence in said:
            print_text(sentence)


def row(each: Outcome, output: str, dry_run: bool) -> list[str]:
    """A provider for a person."""
    said = RESULTS.get(each.state, each.state)
    if dry_run and each.state == "renewed":
        said = "would be renewed"
    counts = (each.taken, each.kept, len(each.held), each.gone, len(each.unlisted))
    asked = each.state in ("renewed", "refused")
    return [each.provider, state_cell(said, output), *(f"{count:,}" if asked else "-" for count in counts)]


def sentences(each: Outcome, dry_run: bool) -> list[str]:
    """What a person should know of one provider's refresh."""
    said = [
        f"{'' if fault.region in ('', each.provider) else f'{fault.region}: '}{fault.message}" for fault in each.faults
    ]
    if each.held:
        waits = "waits" if len(each.held) == 1 else "wait"
        listed = "; ".join(map(jump, each.held[:MOST_NAMED])) + more(len(each.held))
        said.append(f"{number(len(each.held), 'price')} {waits} for a second answer, or --accept-jumps: {listed}")
    if each.unlisted:
        names = list(dict.fromkeys(sold.offer for sold in each.unlisted))
        said.append(f"sold there, but no row of ours: {', '.join(names[:MOST_NAMED])}{more(len(names))}")
    if each.changes:
        all_of_them = "" if dry_run else " (`cloudtrain prices diff` shows all)"
        listed = "; ".join(map(jump, largest(each.changes)[:MOST_NAMED])) + more(len(each.changes))
        moved = "would change" if dry_run else "changed"
        said.append(f"{number(len(each.changes), 'price')} {moved}{all_of_them}: {listed}")
    if each.state == "unchanged":
        said.append("asked less than 20 minutes ago, which counts")
    if each.error is not None:
        said.append("; ".join([each.error.message, *each.error.hint.splitlines()]))
    return said


def largest(changes: Sequence[Change]) -> list[Change]:
    """Those that moved the most by their share first; what came or went before all."""

    def moved(change: Change) -> float:
        return abs(share(change.old, change.new)) if change.old and change.new else float("inf")

    return sorted(changes, key=moved, reverse=True)


def jump(held: Held | Change) -> str:
    """One price that moved."""
    moved = change(held.old, held.new)
    where = place(held.offer, held.region, held.zones, held.market)
    return f"{where} {hourly(held.old)} -> {hourly(held.new)}{f' ({moved})' if moved else ''}"


def more(count: int) -> str:
    """That there are others than those named."""
    return f" and {count - MOST_NAMED} more" if count > MOST_NAMED else ""


def failure(found: Sequence[Outcome], named: Sequence[str]) -> CloudtrainError | None:
    """What the command ends with; None where everything that was asked for is there.

    A named provider's missing access comes first, then what the gate refused, then who did not answer.
    """
    without = [each for each in found if each.state == "no_credentials" or isinstance(each.error, ACCESS)]
    refused = [each for each in found if each.state == "refused"]
    silent = [each for each in found if each.state == "unanswered" and each not in without]
    if without and (named or len(without) == len(found)):
        hint = "\n".join(dict.fromkeys(each.error.hint for each in without if each.error and each.error.hint))
        return MissingCredentials(f"{listed(without)} cannot be asked with the credentials here", hint)
    if refused:
        hint = "look at what it says; --accept-jumps takes prices that jumped, but none that cannot be right"
        return UsageError(f"the prices of {listed(refused)} were refused, and the old ones count", hint)
    if silent:
        return Unavailable(f"{listed(silent)} gave no answer, and the old prices count", "try again later")
    return None


def listed(found: Sequence[Outcome]) -> str:
    """Their names."""
    return ", ".join(each.provider for each in found)


def document(each: Outcome) -> dict[str, Any]:
    """A provider for JSON; see `cloudtrain schema prices-refresh`."""
    return {
        "provider": each.provider,
        "state": each.state,
        "taken": each.taken,
        "kept": each.kept,
        "gone": each.gone,
        "held": [
            {
                **cells(held),
                "old_usd": exact_text(held.old),
                "new_usd": exact_text(held.new),
                "since": rfc3339(held.since),
            }
            for held in each.held
        ],
        "unlisted": [{"offer": sold.offer, "region": sold.region} for sold in each.unlisted],
        "faults": [{"region": fault.region, "message": fault.message} for fault in each.faults],
        "changes": [
            {
                **cells(changed),
                "old_usd": exact_text(changed.old),
                "new_usd": exact_text(changed.new),
                "source": changed.source,
            }
            for changed in each.changes
        ],
        "error": None if each.error is None else {"message": each.error.message, "hint": each.error.hint},
    }


def cells(price: Any) -> dict[str, str]:
    """Which price of a list."""
    return {"offer": price.offer, "region": price.region, "zones": price.zones, "market": price.market}
