"""Printing the account of one run in full."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click

from cloudtrain.cli.output import bold, print_rows, print_text
from cloudtrain.cli.tables import Column
from cloudtrain.report import markdown
from cloudtrain.report.cost_report import CostReport, paired
from cloudtrain.report.figures import dollars, ratio, speed
from cloudtrain.report.tables import Table
from cloudtrain.units import gib, hours, money


def show(account: CostReport, output: str) -> None:
    """One run in full."""
    if output == "table":
        print_text(bold(f"{account.run}: {account.state}, {account.offer} ({account.provider})"))
        price = account.price
        frozen = money(decimal_of(price.get("usd_per_hour")))
        print_text(
            f"price frozen at launch: {frozen} per hour, {price.get('origin', '?')}"
            f"{' of ' + price['as_of'] if price.get('as_of') else ''}: {price.get('source', '')}\n"
        )
    headers, rows = ("", "quoted", "metered"), [*cost_rows(account), *figures(account)]
    if output == "md":
        return click.echo(markdown.table(Table(headers, rows, 1)))
    return print_rows(output, [Column(head, bool(head)) for head in headers], rows)


def cost_rows(account: CostReport) -> list[list[str]]:
    """Each cost line, then the sum."""
    rows = []
    for name, quoted, metered in paired(account.quoted, account.metered):
        rows.append([name, *(f"{p.quantity:,.4f} {p.unit} = {money(p.usd)}" if p else "-" for p in (quoted, metered))])
    quoted_usd = account.quoted_usd
    span = (
        "-" if quoted_usd is None else " .. ".join(money(decimal_of(quoted_usd[k])) for k in ("low", "likely", "high"))
    )
    rows.append(["dollars in all", span, money(account.metered_usd)])
    if account.requoted is not None and (usd := account.requoted[1].usd) is not None:
        rows.append([requoted_at(account), " .. ".join(map(money, usd)), money(account.metered_usd)])
    if account.billed_status is not None:
        rows.append(["billed", account.billed_status, f"{money(account.billed_usd)} {account.billed_message}".rstrip()])
    if account.metered_to_quoted is not None:
        rows.append(["metered / quoted", "-", ratio(account.metered_to_quoted)])
    if account.usd_per_million_tokens is not None:
        rows.append(["$/M tokens", "-", dollars(account.usd_per_million_tokens)])
    return rows


def figures(account: CostReport) -> list[list[str]]:
    """Time, speed and memory, quoted against measured."""
    quoted_hours, rate, measured = (
        account.quoted_hours,
        account.quoted_tokens_per_second,
        account.measured_tokens_per_second,
    )
    return [
        ["time", _span(quoted_hours, lambda h: hours(h * 3600)), hours(account.metered_s)],
        *requoted_time(account),
        ["tokens/s", _span(rate, speed), speed(measured)],
        ["peak memory", size(account.estimated_bytes), size(account.measured_bytes)],
        ["steps", "-", or_dash(account.steps, ",")],
        ["tokens", "-", or_dash(account.tokens, ",")],
        ["loss", "-", or_dash(account.loss, ".4f")],
        *([] if account.eval_loss is None else [["loss on held-out rows", "-", format(account.eval_loss, ".4f")]]),
        ["attempts", "-", str(account.attempts)],
    ]


def requoted_at(account: CostReport) -> str:
    """What a line is called that holds what the run's own rate said first."""
    return "" if account.requoted is None else f"re-quoted at step {account.requoted[0]:,.0f}"


def requoted_time(account: CostReport) -> list[list[str]]:
    """The hours that the run's own rate said first, against those metered; nothing before it could."""
    if account.requoted is None:
        return []
    span = " .. ".join(hours(each * 3600) for each in account.requoted[1].hours)
    return [[requoted_at(account), span, hours(account.metered_s)]]


def decimal_of(text: str | None) -> Decimal | None:
    """An amount of JSON."""
    return None if text is None else Decimal(text)


def size(count: int | None) -> str:
    """Bytes for a person."""
    return "-" if count is None else gib(count)


def or_dash(value: Any, form: str) -> str:
    """A figure in this form, or `-` where there is none."""
    return "-" if value is None else format(value, form)


def _span(three: dict[str, float] | None, shown: Any) -> str:
    return "-" if three is None else " .. ".join(shown(three[k]) for k in ("low", "likely", "high"))
