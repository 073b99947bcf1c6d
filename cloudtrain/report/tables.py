"""The tables of a report, as headings and cells of text: the same for the terminal, CSV, Markdown and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cloudtrain.report import figures
from cloudtrain.report.figures import dollars
from cloudtrain.report.kinds import Kind, Spread
from cloudtrain.report.periods import Period
from cloudtrain.report.rows import Row
from cloudtrain.report.totals import By, Ratio, Sum, Totals
from cloudtrain.report.trend import Course, Line


class Table(NamedTuple):
    """Headings, rows of cells, how many columns from the left are words, and a last row of sums where there is one.

    Words may be names of specs, logs and providers: whoever shows them escapes them.
    """

    headers: tuple[str, ...]
    rows: list[list[str]]
    words: int
    sums: list[str] | None = None


def sums(groups: Sequence[tuple[str, Totals]], everything: Totals, by: By) -> Table:
    """Runs summed by week, month, provider or spec; the last row is of all of them."""
    headers = (by, "runs", "failed", "quoted $", "metered $", "billed $", "$/M tok", "metered/quoted")
    return Table(headers, [[key, *_sums_of(totals)] for key, totals in groups], 1, ["all", *_sums_of(everything)])


def _sums_of(totals: Totals) -> list[str]:
    return [
        str(totals.runs),
        str(totals.failed),
        added(totals.quoted),
        added(totals.metered),
        added(totals.billed) if totals.billed.unknown < totals.runs else figures.NONE,
        figures.NONE if totals.usd_per_million_tokens.value is None else dollars(totals.usd_per_million_tokens.value),
        with_n(totals.metered_to_quoted),
    ]


def added(amount: Sum) -> str:
    """A sum; with a plus where amounts that are unknown are not in it."""
    return dollars(amount.usd) + ("+?" if amount.unknown and amount.usd is not None else "")


def with_n(value: Ratio) -> str:
    """A ratio and of how many runs it is."""
    return figures.NONE if value.value is None else f"{figures.ratio(value.value)} (n {value.n})"


def periods(shown: Sequence[Period], what: str) -> Table:
    """What the chart of spending shows, newest first."""
    headers = (what, "runs", "quoted", "metered", "billed", "may still come", "budget", "metered / quoted")
    rows = [
        [
            period.name,
            str(period.totals.runs),
            added(period.totals.quoted),
            added(period.totals.metered),
            added(period.totals.billed) if period.totals.billed.unknown < period.totals.runs else figures.NONE,
            figures.NONE if period.open_usd is None else dollars(period.open_usd),
            figures.NONE if period.limit_usd is None else dollars(period.limit_usd),
            with_n(period.totals.metered_to_quoted),
        ]
        for period in reversed(shown)
    ]
    return Table(headers, rows, 1)


NIGHT_HEADERS = ("date", "schedule or spec", "outcome", "machine", "run", "quoted", "low .. high", "metered", "billed",
                 "$/M tokens", "tokens/s", "loss", "eval loss", "took")  # fmt: skip


def nights(rows: Sequence[Row]) -> Table:
    """Nights and runs, a row each, as they come."""
    return Table(NIGHT_HEADERS, [_night(row) for row in rows], 5)


def _night(row: Row) -> list[str]:
    entry = row.entry
    head = [row.date, row.line, row.outcome]
    if entry is None:
        return [*head, figures.NONE, row.run or figures.NONE, *[figures.NONE] * 9]
    span = figures.NONE if entry.low_usd is None else f"{dollars(entry.low_usd)} .. {dollars(entry.high_usd)}"
    billed = f"{dollars(entry.billed_usd)}{'' if entry.billed_status == 'final' else ' (provisional)'}"
    per_million = entry.usd_per_million_tokens
    return [
        *head,
        entry.offer or figures.NONE,
        entry.run,
        figures.NONE if entry.likely_usd is None else dollars(entry.likely_usd),
        span,
        dollars(entry.metered_usd),
        figures.NONE if entry.billed_usd is None else billed,
        figures.NONE if per_million is None else dollars(per_million),
        figures.speed(entry.tokens_per_second),
        figures.loss(entry.loss),
        figures.loss(entry.eval_loss),
        figures.took(entry.metered_s),
    ]


def kinds(shown: Sequence[Kind]) -> Table:
    """Speed and cost of each kind of machine."""
    headers = ("machine", "schedule or spec", "runs", "tokens/s", "low .. high", "n", "$/M tokens", "low .. high", "n")
    return Table(headers, [_kind(kind) for kind in shown], 2)


def _kind(kind: Kind) -> list[str]:
    return [
        kind.offer or figures.NONE,
        kind.line,
        str(kind.runs),
        *_spread(kind.speed, figures.speed),
        *_spread(kind.cost, figures.dollars_of),
    ]


def _spread(spread: Spread, words: figures.Words) -> list[str]:
    if spread.low is None or spread.middle is None or spread.high is None:
        return [figures.NONE, figures.NONE, "0"]
    return [words(spread.middle), f"{words(spread.low)} .. {words(spread.high)}", str(spread.n)]


def losses(line: Line, dates: Mapping[str, str]) -> Table:
    """The losses of a line's runs, newest first; `dates` are the runs' nights."""
    rows = [
        [dates.get(entry.run, figures.NONE), entry.run, figures.loss(entry.loss), figures.loss(entry.eval_loss)]
        for entry in reversed(line.entries)
    ]
    return Table(("date", "run", "loss", "eval loss"), rows, 2)


def trend(shown: Sequence[Line]) -> Table:
    """How the figures of each line move: the newest, and how the newest differ from those before."""
    headers = ("schedule or spec", "figure", "n", "first", "newest", "change", "")
    rows = []
    for line in shown:
        for course in line.courses:
            if known := course.known:
                ends = [course.figure.words(known[0]), course.figure.words(known[-1])]
                rows.append([line.name, course.figure.name, str(len(known)), *ends, moved(course), course.verdict])
    return Table(headers, rows, 2)


def moved(course: Course) -> str:
    """`↓ 18 %`; `-` with too few figures."""
    if course.change is None:
        return figures.NONE
    return f"{course.arrow} {abs(course.change):.0%}".replace("%", " %") if abs(course.change) < 100 else course.arrow
