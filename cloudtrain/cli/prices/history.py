"""`cloudtrain prices history`: what the price of an offer was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli import words
from cloudtrain.cli.options import output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.prices.wording import hourly
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.units import exact_text, rfc3339

if TYPE_CHECKING:
    from cloudtrain.quote.lists.past import Course

COLUMNS = (Column("offer"), figure("now"), figure("lowest"), figure("median"), figure("highest"),
           Column("course", fold=False, drop=1))  # fmt: skip
STEPS = (Column("since", fold=False), figure("price"), Column("said by"))
SHOWN = 20  # of a single offer, the newest changes


@click.command("history", short_help="What the price of OFFER was, as far as it is known here.")
@click.argument("offer", shell_complete=words.rows)
@click.option("--region", help="Only of this region, where OFFER is a machine's name.")
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How far back.")
@click.option("--ask", is_flag=True, help="Ask the provider for the past of a spot price; AWS keeps 90 days.")
@output_option()
def command(offer: str, region: str | None, days: int, ask: bool, output: str) -> None:
    """What the price of OFFER was: lowest, median and highest in --days, and what it is now.

    OFFER is the id of a quote's row, or the provider's name of a machine for all of its places. Known is what refreshes
    and pulls have written down here, a line for each change; with --ask it is what the provider itself tells.
    """
    from cloudtrain import settings
    from cloudtrain.quote import catalog
    from cloudtrain.quote.lists import past

    now = settings.now()
    courses = past.courses(offer, catalog.context(settings.load()), now - days * past.DAY_S, now, region, ask)
    if not courses:
        raise UsageError(f"`{offer}` is not offered in region `{region}`", "leave --region out to see where it is")
    if output == "json":
        print_json([document(id_, course) for id_, course in courses.items()])
        return
    print_rows(output, COLUMNS, [row(id_, course) for id_, course in courses.items()])
    if output != "table":
        return
    if not any(course.is_written for course in courses.values()):
        print_message("nothing is written down of it here: `cloudtrain prices refresh` writes each change")
    elif len(courses) == 1:
        (course,) = courses.values()
        click.echo()
        print_rows(output, STEPS, steps(course))


def row(id_: str, course: Course) -> list[str]:
    """An offer for a person."""
    from cloudtrain.report.trend import blocks

    figures = (course.now, course.lowest, course.median, course.highest)
    return [id_, *map(hourly, figures), blocks(course.points, len(course.points))]


def steps(course: Course) -> list[list[str]]:
    """What changed, the newest last."""
    return [[(rfc3339(step.time) or "")[:16], hourly(step.usd), step.source or "-"] for step in course.steps[-SHOWN:]]


def document(id_: str, course: Course) -> dict[str, Any]:
    """For JSON; see `cloudtrain schema prices-history`."""
    return {
        "id": id_,
        "since": rfc3339(course.since),
        "until": rfc3339(course.until),
        "now_usd_per_hour": exact_text(course.now),
        "lowest_usd_per_hour": exact_text(course.lowest),
        "median_usd_per_hour": exact_text(course.median),
        "highest_usd_per_hour": exact_text(course.highest),
        "steps": [
            {"since": rfc3339(step.time), "usd_per_hour": exact_text(step.usd), "source": step.source}
            for step in course.steps
        ],
    }
