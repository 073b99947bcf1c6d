"""`cloudtrain prices gate`: judges the price lists of a folder, for a CI job that is about to publish them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_rows, print_text, state_cell
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError

if TYPE_CHECKING:
    from cloudtrain.prices.published.check import Judged

COLUMNS = (Column("provider", fold=False), Column("result"), figure("prices"), figure("changed"), figure("faults"))
FOLDER = click.Path(path_type=Path)


@click.command("gate", short_help="Judge the price lists of a folder.")
@click.argument("folder", type=FOLDER)
@click.option("--against", type=FOLDER, help="Compare with the lists of this folder.  [default: the shipped ones]")
@output_option()
def command(folder: Path, against: Path | None, output: str) -> None:
    """Judge every price list of FOLDER, which a refresh made or which holds `<provider>.csv` files. Asks nobody.

    Exit codes: 0 every list passes; 2 one does not, or there is none.
    """
    from cloudtrain import settings
    from cloudtrain.prices.published.check import judged

    found = judged(folder, against, settings.now())
    show(found, output)
    if failed := [each.provider for each in found if each.faults]:
        raise UsageError(f"the price lists of {', '.join(failed)} do not pass the gate")


def show(found: Sequence[Judged], output: str) -> None:
    """A line for each list, and what is wrong with it."""
    if output == "json":
        return print_json([document(each) for each in found])
    print_rows(output, COLUMNS, [row(each, output) for each in found])
    if output == "table":
        for each in found:
            for fault in each.faults:
                print_text(f"{each.provider}: {f'{fault.region}: ' if fault.region else ''}{fault.message}")
    return None


def row(each: Judged, output: str) -> list[str]:
    """A list for a person."""
    verdict = state_cell("failed" if each.faults else "ok", output)
    return [each.provider, verdict, f"{each.prices:,}", f"{each.changed:,}", f"{len(each.faults):,}"]


def document(each: Judged) -> dict[str, Any]:
    """A list for JSON; see `cloudtrain schema prices-gate`."""
    return {
        "provider": each.provider,
        "passes": not each.faults,
        "prices": each.prices,
        "changed": each.changed,
        "faults": [{"region": fault.region, "message": fault.message} for fault in each.faults],
    }
