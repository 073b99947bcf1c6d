"""`cloudtrain prices diff`: which prices differ between two lists, and what that does to a quote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, print_text
from cloudtrain.cli.prices.wording import change, hourly, number
from cloudtrain.cli.tables import Column, figure
from cloudtrain.units import exact_text, money, money_text

if TYPE_CHECKING:
    from cloudtrain.quote.lists.differences import Difference, Effect, Row

COLUMNS = (Column("offer"), figure("old"), figure("new"), figure("change"),
           Column("old seen", fold=False, drop=1), Column("new seen", fold=False, drop=2))  # fmt: skip
MODEL = "llama-3.1-8b"
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command("diff", short_help="Prices that differ from the shipped ones, and what that does.")
@click.argument("old", required=False, type=FOLDER)
@click.argument("new", required=False, type=FOLDER)
@click.option("--provider", "providers", multiple=True, shell_complete=words.price_sources, help="Only of this one.")
@click.option("--model", default=MODEL, show_default=True, shell_complete=words.models, help="Whose quote to compare.")
@click.option("--include-nvidia", is_flag=True, help="NVIDIA offers too.")
@output_option()
def command(
    old: Path | None, new: Path | None, providers: tuple[str, ...], model: str, include_nvidia: bool, output: str
) -> None:
    """Which prices differ, by how much, and what a quote for --model then puts first and `up` takes.

    OLD and NEW are folders of price lists; without them the shipped lists and those that `quote` reads are compared.
    """
    from cloudtrain import settings
    from cloudtrain.quote import catalog
    from cloudtrain.quote.engine import is_nvidia
    from cloudtrain.quote.lists import differences as lists
    from cloudtrain.runs.quoting import QuoteOptions, request_of

    known = settings.load()
    here = catalog.context(known)
    sides = [lists.of_folder(here, old or catalog.shipped()), lists.of_folder(here, new)]
    offered = [
        [offer for offer in lists.offers(side, providers) if include_nvidia or not is_nvidia(offer)] for side in sides
    ]
    found = lists.differences(*offered)
    request = request_of(QuoteOptions(model), known)
    was, now = (lists.effect(request, side) for side in sides)
    if output == "json":
        print_json(document(found, model, was, now))
        return
    print_rows(output, COLUMNS, [row(each) for each in found])
    if output == "table":
        every = len({(offer.key, offer.zone) for side in offered for offer in side})
        print_message(f"{number(len(found), 'price')} of {every:,} differ" if found else f"all {every:,} prices agree")
        print_text(f"{model}, first of its quote: {effect(was.first, now.first)}")
        print_text(f"{model}, what `up` takes: {effect(was.chosen, now.chosen)}")


def row(each: Difference) -> list[str]:
    """A price for a person."""
    return [
        each.id,
        hourly(each.old),
        hourly(each.new),
        change(each.old, each.new),
        each.old_as_of or "-",
        each.new_as_of or "-",
    ]


def effect(old: Row | None, new: Row | None) -> str:
    """What a row of the quote is, and was."""
    if old == new:
        return f"{said(new)}, as before"
    if old and new and old.id == new.id:
        return f"{said(new)}; was {money(old.likely_usd)}"
    return f"{said(new)}; was {said(old)}"


def said(row: Row | None) -> str:
    """A row in a few words."""
    return "none" if row is None else f"{row.id}, likely {money(row.likely_usd)}"


def document(found: list[Difference], model: str, old: Effect, new: Effect) -> dict[str, Any]:
    """For JSON; see `cloudtrain schema prices-diff`."""
    return {
        "differences": [
            {
                "id": each.id,
                "provider": each.key.provider,
                "offer": each.key.offer,
                "region": each.key.region,
                "zone": each.key.zone,
                "market": each.key.market,
                "old_usd_per_hour": exact_text(each.old),
                "new_usd_per_hour": exact_text(each.new),
                "change": None if each.change is None else round(each.change, 6),
                "old_as_of": each.old_as_of or None,
                "new_as_of": each.new_as_of or None,
            }
            for each in found
        ],
        "model": model,
        "first_viable": {"old": row_document(old.first), "new": row_document(new.first)},
        "chosen": {"old": row_document(old.chosen), "new": row_document(new.chosen)},
    }


def row_document(row: Row | None) -> dict[str, Any] | None:
    """A row of the quote for JSON."""
    return None if row is None else {"id": row.id, "likely_usd": money_text(row.likely_usd)}
