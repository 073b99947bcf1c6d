"""`cloudtrain prices status`: of each provider how old its prices are, which list is read, and what renews it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows, yellow
from cloudtrain.cli.tables import Column, figure
from cloudtrain.units import rfc3339

if TYPE_CHECKING:
    from cloudtrain.prices.status import KindAge, Status

COLUMNS = (Column("provider", fold=False), figure("list, days"), figure("spot, days"), figure("priced", drop=1),
           Column("read from"), Column("renewed by"))  # fmt: skip


@click.command("status", short_help="Age, origin and coverage of each provider's price list.")
@output_option()
def command(output: str) -> None:
    """How old the prices of each provider are, list prices and spot prices apart, and what would renew them.

    Ages are in days, of the newest and of the oldest price. Asks nobody.
    """
    from cloudtrain import settings
    from cloudtrain.prices.status import status

    found = [each for each in status(settings.now()) if each.rows]
    if output == "json":
        print_json([document(each) for each in found])
        return
    print_rows(output, COLUMNS, [row(each, output) for each in found])
    for each in found:
        if each.held:
            waits = "a new price waits" if each.held == 1 else f"{each.held} new prices wait"
            print_message(f"{each.provider}: {waits} until a second answer agrees; or: prices refresh --accept-jumps")
        if each.left_out:
            print_message(each.left_out)


def row(each: Status, output: str) -> list[str]:
    """A provider for a person."""
    by_kind = {"spot" if age.market == "spot" else "list": age for age in each.ages}
    renewed = renewed_by(each)
    return [
        each.provider,
        days(by_kind.get("list"), output),
        days(by_kind.get("spot"), output),
        f"{each.priced:,} of {each.rows:,}",
        read_from(each),
        yellow(renewed) if output == "table" and renewed.startswith("needs") else renewed,
    ]


def days(age: KindAge | None, output: str) -> str:
    """`4`, or `4 to 91`; `-` without a price of the kind. Yellow where `up` takes some of them no longer unasked."""
    if age is None:
        return "-"
    said = str(age.oldest) if age.youngest == age.oldest else f"{age.youngest} to {age.oldest}"
    return yellow(said) if output == "table" and age.stale else said


def read_from(each: Status) -> str:
    """Where the list comes from: `shipped`, `refresh of 2026-11-30`."""
    day = rfc3339(each.asked_at)
    return each.source if day is None else f"{each.source} of {day[:10]}"


def renewed_by(each: Status) -> str:
    """What renews it here: a command, what that lacks, or a new release."""
    from cloudtrain.quote import renewal

    if not renewal.command(each.provider):
        return "a new release"
    lacks = renewal.needs(each.provider)
    return f"needs {lacks}" if lacks else "prices refresh"


def document(each: Status) -> dict[str, Any]:
    """A provider for JSON; see `cloudtrain schema prices-status`."""
    from cloudtrain.quote import renewal

    return {
        "provider": each.provider,
        "source": each.source,
        "asked_at": rfc3339(each.asked_at),
        "ages": [
            {
                "market": age.market,
                "prices": age.prices,
                "youngest_days": age.youngest,
                "oldest_days": age.oldest,
                "stale": age.stale,
            }
            for age in each.ages
        ],
        "rows": each.rows,
        "priced": each.priced,
        "held": each.held,
        "can_be_asked": each.can_be_asked,
        "keyless": each.keyless,
        "credentials": list(each.credentials),
        "lacks": renewal.needs(each.provider) if each.can_be_asked else "",
        "command": renewal.command(each.provider),
        "left_out": each.left_out,
    }
