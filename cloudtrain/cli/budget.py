"""`cloudtrain budget`: what may be spent in this state, and what has been."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.options import Dollars, output_option
from cloudtrain.cli.output import print_json, print_message, print_rows
from cloudtrain.cli.tables import Column, figure
from cloudtrain.errors import UsageError
from cloudtrain.units import money, money_text, rfc3339

if TYPE_CHECKING:
    from cloudtrain.runs.spending.standing import Standing, Window
    from cloudtrain.state.protocol import Store

COLUMNS = (Column("window"), Column("begins", fold=False, drop=1), figure("limit"), figure("spent"),
           figure("still open"), figure("left"))  # fmt: skip
NONE = "none"


class Limit(Dollars):
    """An amount in US dollars, or the word that takes the limit away."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Decimal, or NONE."""
        if str(value).strip().lower() == NONE:
            return NONE
        return super().convert(value, param, ctx)


@click.group("budget", short_help="What may be spent in this state, and what has been.")
def command() -> None:
    """The most that runs may cost: each of them, in a week and in a month. `up` starts nothing beyond it."""


@command.command("show")
@output_option()
def show(output: str) -> None:
    """Limits, what was spent, what living runs may still cost, and what is left."""
    from cloudtrain import settings
    from cloudtrain.runs.listing import refuse_damaged
    from cloudtrain.runs.spending.standing import standing

    now = settings.now()
    found = standing(_store(), now)
    if output == "json":
        print_json(document(found, now))
    else:
        print_rows(output, COLUMNS, rows(found))
    for message in notes(found):
        print_message(message)
    refuse_damaged(list(found.damaged))


@command.command("set")
@click.option("--run", "run_usd", type=Limit(), help="US dollars that one run may cost; `none`: no limit.")
@click.option("--week", "week_usd", type=Limit(), help="The same for all runs of a week, which begins on Monday.")
@click.option("--month", "month_usd", type=Limit(), help="The same for all runs of a month.")
@click.option("--timezone", help="Where week and month begin at midnight, such as Europe/Berlin.")
def set_(timezone: str | None, **limits: Any) -> None:
    """Set limits; those that are not named stay as they are."""
    from cloudtrain.runs.spending import budget

    changes = {name: None if value == NONE else value for name, value in limits.items() if value is not None}
    if timezone is not None:
        changes["timezone"] = timezone
    if not changes:
        raise UsageError("say what to set", "for example `cloudtrain budget set --month 150`")
    store = _store()
    made = budget.change(store, **changes)
    said = [
        f"{name} {'no limit' if usd is None else money(usd)}"
        for name, usd in (("run", made.run_usd), ("week", made.week_usd), ("month", made.month_usd))
    ]
    print_message(f"{', '.join(said)}; time zone {made.timezone}")
    print_message(f"in {store.place(budget.KEY)}")


def rows(found: Standing) -> list[list[str]]:
    """A line for a run, the week and the month."""
    limit = found.limits.run_usd if found.limits else None
    first = ["run", "", "no limit" if limit is None else money(limit), "", "", ""]
    return [first, *(row(found, window) for window in (found.week, found.month))]


def row(found: Standing, window: Window) -> list[str]:
    """A week or month for a person."""
    spent = money(window.spent_usd) + ("?" if window.unknown else "")
    left = left_usd(found, window)
    return [
        window.name,
        begins(found, window),
        "no limit" if window.limit_usd is None else money(window.limit_usd),
        spent,
        money(found.open_usd),
        "-" if window.limit_usd is None else "unknown" if left is None else money(left),
    ]


def begins(found: Standing, window: Window) -> str:
    """The local date on which it begins."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    where = ZoneInfo(found.limits.timezone if found.limits else "UTC")
    return datetime.fromtimestamp(window.span.since, where).date().isoformat()


def left_usd(found: Standing, window: Window) -> Decimal | None:
    """What may still be spent in it, at the least nothing; None without a limit, or when a price is unknown."""
    if window.limit_usd is None or window.unknown:
        return None
    return max(Decimal(0), window.limit_usd - window.spent_usd - found.open_usd)


def notes(found: Standing) -> list[str]:
    """What the numbers leave out."""
    said = [f"weeks and months begin at midnight in {found.limits.timezone}"] if found.limits else []
    if found.limits is None:
        said.append("no limit is set; `cloudtrain budget set --month 150` sets one")
    if found.living:
        said.append(f"living, or not proven to be gone: {', '.join(found.living)}")
    if found.unknown:
        said.append(
            f"what these cost is unknown, and nothing is started while a limit is set: {', '.join(found.unknown)}"
        )
    return said


def document(found: Standing, now: float) -> dict[str, Any]:
    """The same for JSON; see `cloudtrain schema budget`."""
    limits = found.limits
    return {
        "as_of": rfc3339(now),
        "timezone": limits.timezone if limits else "UTC",
        "run_limit_usd": money_text(limits.run_usd if limits else None),
        "week": window_document(found, found.week),
        "month": window_document(found, found.month),
        "open_usd": money_text(found.open_usd),
        "living": list(found.living),
        "unknown": list(found.unknown),
    }


def window_document(found: Standing, window: Window) -> dict[str, Any]:
    """A week or month for JSON."""
    return {
        "begins_at": rfc3339(window.span.since),
        "ends_at": rfc3339(window.span.until),
        "limit_usd": money_text(window.limit_usd),
        "spent_usd": money_text(window.spent_usd),
        "left_usd": money_text(left_usd(found, window)),
        "unknown": list(window.unknown),
    }


def _store() -> Store:
    from cloudtrain import settings
    from cloudtrain.state.store import open_store

    return open_store(settings.load().state)
