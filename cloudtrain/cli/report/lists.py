"""Printing reports on many runs: a line for each, sums, and how figures move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.output import bold, print_json, print_rows, terminal_width
from cloudtrain.cli.report.one import decimal_of, size
from cloudtrain.report import figures
from cloudtrain.report.cost_report import CostReport
from cloudtrain.units import hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.report.history import History
    from cloudtrain.report.tables import Table
    from cloudtrain.report.totals import By, Totals

HEADERS = ("run", "state", "offer", "started", "quoted $", "metered $", "quoted", "took", "tokens/s quoted", "measured",
           "memory estimated", "measured", "billed $", "$/M tokens", "metered/quoted")  # fmt: skip
CSV_HEADERS = ("run", "state", "offer", "started_at", "quoted_usd", "metered_usd", "quoted_s", "metered_s",
               "quoted_tokens_per_second", "measured_tokens_per_second", "estimated_bytes", "measured_bytes",
               "billed_usd", "usd_per_million_tokens", "metered_to_quoted", "provider", "spec", "quoted_usd_low",
               "quoted_usd_high", "billed_status")  # fmt: skip
ORDER = (0, 1, 2, 3, 4, 5, 12, 13, 14, 6, 7, 8, 9, 10, 11)  # of the columns at a terminal
LEFT_OUT = (10, 11, 8, 6, 14, 2, 9, 3, 12, 7, 13)  # where it is too narrow, in this order
BLOCKS_WIDE, LONGEST_NAME = 24, 28


def show_runs(accounts: Sequence[CostReport], output: str) -> None:
    """Each run in a line, then their sums."""
    if output == "json":
        return print_json([account.document() for account in accounts])
    if output == "csv":
        return print_rows(output, CSV_HEADERS, [csv_row(account) for account in accounts])
    rows = [row(account) for account in accounts]
    if terminal_width() is not None:
        rows = [[cut(each[0], LONGEST_NAME), *each[1:]] for each in rows]
    columns = fitting(HEADERS, rows, ORDER, LEFT_OUT)
    print_rows(output, [HEADERS[c] for c in columns], [[each[c] for c in columns] for each in rows])
    return show_total(accounts)


def show_total(accounts: Sequence[CostReport]) -> None:
    """The sum over all rows; runs without a price make it a lower bound."""
    from cloudtrain.report.history import entry_of
    from cloudtrain.report.totals import total

    every = total([entry_of(account, account.spec) for account in accounts])
    unknown = every.metered.unknown
    at_least = f"at least (no price for {unknown} of them) " if unknown else ""
    click.echo(f"\n{figures.several(every.runs, 'run')}, {at_least}{money(every.metered.usd or decimal_of('0'))}")
    for line in ratios(every):
        click.echo(line)


def ratios(every: Totals) -> list[str]:
    """How what was metered compares with quotes and bills, in a line each where there is something to compare."""
    told = []
    if (compared := every.metered_to_quoted).value is not None:
        within = f"{every.within} within the quoted range"
        told.append(f"metered / quoted {figures.ratio(compared.value)} over {compared.n} finished runs, {within}")
    if every.billed.unknown < every.runs:
        of = f"{every.runs - every.billed.unknown} of {every.runs} runs"
        final = every.billed_to_metered
        ratio = f", billed / metered {figures.ratio(final.value)} (n {final.n})" if final.value is not None else ""
        told.append(f"billed {figures.dollars(every.billed.usd)} for {of}{ratio}")
    if (cost := every.usd_per_million_tokens).value is not None:
        told.append(f"{figures.dollars(cost.value)} for a million tokens (n {cost.n})")
    return told


def show_sums(found: History, what: By, output: str) -> None:
    """The sums of each week, month, provider or spec."""
    from cloudtrain.report import tables
    from cloudtrain.report.totals import by, total

    groups, everything = by(found, what), total(found.entries)
    if output == "json":
        each = [{"key": key, **totals.document()} for key, totals in groups]
        total_ = everything.document()
        return print_json({"by": what, "timezone": found.zone_name, "groups": each, "total": total_})
    shown = tables.sums(groups, everything, what)
    show_table(shown, output, LEFT_OUT_OF_SUMS)
    return show_ratios(everything, output)


LEFT_OUT_OF_SUMS = (2, 3, 5)


def show_ratios(everything: Totals, output: str) -> None:
    """At a terminal, the comparison below the table."""
    if output == "table":
        for number, line in enumerate(ratios(everything)):
            click.echo(f"{'' if number else chr(10)}{line}")


def show_table(shown: Table, output: str, left_out: Sequence[int] = ()) -> None:
    """A table of a report as a table, CSV or Markdown; its names are cut where the terminal is too narrow."""
    if output == "md":
        from cloudtrain.report import markdown

        return click.echo(markdown.table(shown))
    rows = [*shown.rows, *([shown.sums] if shown.sums and output == "table" else [])]
    columns = fitting(shown.headers, rows, range(len(shown.headers)), left_out) if output == "table" else None
    kept = list(range(len(shown.headers))) if columns is None else columns
    headers, cells = [shown.headers[c] for c in kept], [[each[c] for c in kept] for each in rows]
    if output == "table":
        cells = shortened(headers, cells)
    right = "".join("-" if c < shown.words else "r" for c in kept)
    return print_rows(output, headers, cells, right)


def show_trend(found: History, output: str) -> None:
    """How the figures of each spec move."""
    from cloudtrain.report import tables
    from cloudtrain.report.trend import BEFORE, GAP, NEWEST, SHOWN, blocks, lines

    every = lines(found)
    if output == "json":
        return print_json({"trend": [line.document() for line in every]})
    if output != "table":
        return show_table(tables.trend(every), output)
    for number, line in enumerate(every):
        runs, newest = figures.several(len(line.entries), "finished run"), line.entries[-1].offer or "?"
        head = f"{line.name}: {runs}, the newest on {newest}"
        click.echo(("\n" if number else "") + bold(cut(head, terminal_width())))
        for course in line.courses:
            if known := course.known:
                first, last = course.figure.words(known[0]), course.figure.words(known[-1])
                chart = blocks(course.values, BLOCKS_WIDE)
                told = f"{tables.moved(course)} {course.verdict}".strip(" -")
                name = f"  {course.figure.name:<11} {first:>9} → {last:<9}"
                click.echo(f"{name}  {chart:<{BLOCKS_WIDE}}  {told}".rstrip())
    if not every:
        click.echo("no run has finished yet")
        return None
    click.echo(f"\nfirst → newest of at most {SHOWN} runs; {GAP} a run without the figure")
    return click.echo(f"the change: the median of the newest {NEWEST} runs against that of the {BEFORE} before")


def fitting(
    headers: Sequence[str], rows: Sequence[Sequence[str]], order: Sequence[int], left_out: Sequence[int]
) -> list[int]:
    """The columns that fit the terminal, in this order; where it is too narrow some are left out, `left_out` first."""
    kept, width = list(order), terminal_width()
    for column in left_out:
        if width is None or _width(headers, rows, kept) <= width:
            break
        kept = [each for each in kept if each != column]
    return kept


def shortened(headers: Sequence[str], rows: list[list[str]]) -> list[list[str]]:
    """The rows with their first cell cut to what the terminal leaves for it."""
    width = terminal_width()
    if width is None or not rows:
        return rows
    over = _width(headers, rows, range(len(headers))) - width
    longest = max(len(each[0]) for each in rows) - max(over, 0)
    return [[cut(each[0], max(longest, len(headers[0]) + 2)), *each[1:]] for each in rows]


def _width(headers: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    return sum(max(len(headers[c]) + 2, *(len(each[c]) for each in rows), 0) + 2 for c in kept) - 2


def cut(text: str, width: int | None) -> str:
    """The text, its middle left out where it is too long."""
    if width is None or len(text) <= width:
        return text
    tail = (width - 1) // 3
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def row(account: CostReport) -> list[str]:
    """One run in a line."""
    quoted_usd, rate = account.quoted_usd, account.quoted_tokens_per_second
    per_million, billed = account.usd_per_million_tokens, account.billed_usd
    return [
        account.run,
        account.state,
        account.offer,
        rfc3339(account.started_at) or "-",
        money(decimal_of(quoted_usd["likely"])) if quoted_usd else "-",
        money(account.metered_usd),
        hours(account.quoted_hours["likely"] * 3600) if account.quoted_hours else "-",
        hours(account.metered_s),
        figures.speed(rate["likely"] if rate else None),
        figures.speed(account.measured_tokens_per_second),
        size(account.estimated_bytes),
        size(account.measured_bytes),
        "-" if billed is None else money(billed) + ("" if account.billed_status == "final" else "~"),
        "-" if per_million is None else figures.dollars(per_million),
        figures.ratio(account.metered_to_quoted),
    ]


def csv_row(account: CostReport) -> list[Any]:
    """One run as plain figures, those of `-o json`; the likely ones of a quote, empty where nothing is known."""
    quoted_usd, quoted_hours = account.quoted_usd or {}, account.quoted_hours or {}
    told = account.document()
    likely_hours = quoted_hours.get("likely")
    return [
        *(account.run, account.state, account.offer, told["started_at"]),
        *(quoted_usd.get("likely"), told["metered_usd"]),
        *(None if likely_hours is None else round(likely_hours * 3600, 3), told["metered_s"]),
        *((account.quoted_tokens_per_second or {}).get("likely"), account.measured_tokens_per_second),
        *(account.estimated_bytes, account.measured_bytes, told["billed_usd"]),
        *(told["usd_per_million_tokens"], told["metered_to_quoted"], account.provider, account.spec),
        *(quoted_usd.get("low"), quoted_usd.get("high"), account.billed_status),
    ]
