"""Printing reports on many runs: a line for each, sums, and how figures move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from cloudtrain.cli.output import bold, print_json, print_rows, print_text, state_cell, terminal_width
from cloudtrain.cli.report.one import decimal_of, size
from cloudtrain.cli.tables import Column, figure
from cloudtrain.report import figures
from cloudtrain.report.cost_report import CostReport
from cloudtrain.units import hours, money, rfc3339

if TYPE_CHECKING:
    from cloudtrain.report.history import History
    from cloudtrain.report.tables import Table
    from cloudtrain.report.totals import By, Totals

COLUMNS = (Column("run", fold=False), Column("state"), Column("offer", drop=6), Column("started", fold=False, drop=8),
           figure("quoted $"), figure("metered $"), figure("billed $"), figure("$/M tokens", drop=10),
           figure("metered/quoted", drop=5), figure("quoted time", drop=4), figure("took", drop=9),
           figure("quoted tokens/s", drop=3), figure("tokens/s", drop=7),
           figure("estimated memory", drop=1), figure("peak memory", drop=2))  # fmt: skip
SUMS_DROP = {2: 1, 7: 2, 6: 3}  # what a narrow terminal goes without: index of a column to its turn
CSV_HEADERS = ("run", "state", "offer", "started_at", "quoted_usd", "metered_usd", "quoted_s", "metered_s",
               "quoted_tokens_per_second", "measured_tokens_per_second", "estimated_bytes", "measured_bytes",
               "billed_usd", "usd_per_million_tokens", "metered_to_quoted", "provider", "spec", "quoted_usd_low",
               "quoted_usd_high", "billed_status")  # fmt: skip
BLOCKS_WIDE = 24


def show_runs(accounts: Sequence[CostReport], output: str) -> None:
    """Each run in a line, then their sums."""
    if output == "json":
        return print_json([account.document() for account in accounts])
    if output == "csv":
        return print_rows(output, CSV_HEADERS, [csv_row(account) for account in accounts])
    print_rows(output, COLUMNS, [row(account, output) for account in accounts])
    return show_total(accounts)


def show_total(accounts: Sequence[CostReport]) -> None:
    """The sum over all rows; runs without a price make it a lower bound."""
    from cloudtrain.report.history import entry_of
    from cloudtrain.report.totals import total

    every = total([entry_of(account, account.spec) for account in accounts])
    unknown = every.metered.unknown
    at_least = f"at least (no price for {unknown} of them) " if unknown else ""
    print_text(f"\n{figures.several(every.runs, 'run')}, {at_least}{money(every.metered.usd or decimal_of('0'))}")
    for line in ratios(every):
        print_text(line)


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
    show_table(shown, output, SUMS_DROP)
    return show_ratios(everything, output)


def show_ratios(everything: Totals, output: str) -> None:
    """At a terminal, the comparison below the table."""
    if output == "table":
        for number, line in enumerate(ratios(everything)):
            print_text(f"{'' if number else chr(10)}{line}")


def show_table(shown: Table, output: str, drop: Mapping[int, int] = MappingProxyType({})) -> None:
    """A table of a report as a table, CSV or Markdown; `drop` as in Column, by index."""
    if output == "md":
        from cloudtrain.report import markdown

        return click.echo(markdown.table(shown))
    words = shown.words
    columns = [Column(head, c >= words, c < words, drop.get(c, 0)) for c, head in enumerate(shown.headers)]
    return print_rows(output, columns, [*shown.rows, *([shown.sums] if shown.sums and output == "table" else [])])


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
        print_text(("\n" if number else "") + bold(f"{line.name}: {runs}, the newest on {newest}"))
        for course in line.courses:
            if known := course.known:
                first, last = course.figure.words(known[0]), course.figure.words(known[-1])
                told = f"{tables.moved(course)} {course.verdict}".strip(" -")
                name = f"  {course.figure.name:<11} {first:>9} → {last:<9}"
                wide = chart_width(len(name) + len(told))
                click.echo(f"{name}  {blocks(course.values, wide):<{wide}}  {told}".rstrip())
    if not every:
        return click.echo("no run has finished yet")
    print_text(f"\nfirst → newest of at most {SHOWN} runs; {GAP} a run without the figure")
    return print_text(f"the change: the median of the newest {NEWEST} runs against that of the {BEFORE} before")


def chart_width(others: int) -> int:
    """Characters for a chart beside so many others."""
    width = terminal_width()
    return BLOCKS_WIDE if width is None else min(BLOCKS_WIDE, max(1, width - others - 4))


def row(account: CostReport, output: str) -> list[str]:
    """One run in a line."""
    quoted_usd, rate = account.quoted_usd, account.quoted_tokens_per_second
    per_million, billed = account.usd_per_million_tokens, account.billed_usd
    return [
        account.run,
        state_cell(account.state, output),
        account.offer,
        rfc3339(account.started_at) or "-",
        money(decimal_of(quoted_usd["likely"])) if quoted_usd else "-",
        money(account.metered_usd),
        "-" if billed is None else money(billed) + ("" if account.billed_status == "final" else "~"),
        "-" if per_million is None else figures.dollars(per_million),
        figures.ratio(account.metered_to_quoted),
        hours(account.quoted_hours["likely"] * 3600) if account.quoted_hours else "-",
        hours(account.metered_s),
        figures.speed(rate["likely"] if rate else None),
        figures.speed(account.measured_tokens_per_second),
        size(account.estimated_bytes),
        size(account.measured_bytes),
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
