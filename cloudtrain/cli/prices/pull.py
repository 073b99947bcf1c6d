"""`cloudtrain prices pull`: published price lists, for who has no key to ask providers with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, print_text, state_cell
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.prices.refresh import Outcome

COLUMNS = (Column("provider", fold=False), Column("result"), figure("new"), figure("as before"), figure("changed"))
KEY_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("pull", short_help="Take published price lists.")
@click.option(
    "--file", metavar="F", type=click.Path(path_type=Path), help="One that was downloaded: manifest or folder."
)
@click.option("--url", metavar="U", help="The folder at this address: https://HOST/FOLDER.")
@click.option(
    "--public-key", "key_files", multiple=True, type=KEY_FILE, help="Believe this publisher (PEM); may be repeated."
)
@click.option("--accept-jumps", is_flag=True, help="Take a list in which most prices have jumped alike.")
@output_option()
def command(file: Path | None, url: str | None, key_files: tuple[Path, ...], accept_jumps: bool, output: str) -> None:
    """Take price lists that somebody has asked for, judged and signed. Needs no account and sends nothing of yours.

    They are three files: the archive with the lists, `manifest.json` and its signature. What is older than what was
    pulled before, is signed by nobody who is believed, or does not pass our own gate changes nothing; each list counts
    by itself, and of each price the newer one. Machines and their sizes stay as shipped.

    Exit codes: 0 what is newer is taken; 2 something was refused, and what it would replace counts on; 7 the address
    does not answer.
    """
    from cloudtrain import settings
    from cloudtrain.prices.published import keys, place
    from cloudtrain.prices.published.pull import pull

    source = place.chosen(file, url)
    believed = keys.believed(key_files)
    found = pull(source, believed, now=settings.now(), accept_jumps=accept_jumps, say=print_message)
    show(found, output)
    if refused := [each.provider for each in found if each.state == "refused"]:
        raise UsageError(f"the published prices of {', '.join(refused)} were refused, and those that were here count")


def show(found: Sequence[Outcome], output: str) -> None:
    """A line for each list, and why one was refused."""
    if output == "json":
        return print_json([document(each) for each in found])
    if found or output != "table":
        print_rows(output, COLUMNS, [row(each, output) for each in found])
    if output == "table":
        for each in found:
            for fault in each.faults:
                print_text(f"{each.provider}: {f'{fault.region}: ' if fault.region else ''}{fault.message}")
    return None


def row(each: Outcome, output: str) -> list[str]:
    """A list for a person."""
    counts = (each.taken, each.kept, len(each.changes))
    taken = each.state == "renewed"
    return [each.provider, state_cell(each.state, output), *(f"{count:,}" if taken else "-" for count in counts)]


def document(each: Outcome) -> dict[str, Any]:
    """A list for JSON; see `cloudtrain schema prices-pull`."""
    return {
        "provider": each.provider,
        "state": each.state,
        "taken": each.taken,
        "kept": each.kept,
        "changed": len(each.changes),
        "faults": [{"region": fault.region, "message": fault.message} for fault in each.faults],
    }
