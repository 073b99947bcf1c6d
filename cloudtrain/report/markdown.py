"""A history as Markdown: for the summary of a CI step, for a comment, for an issue. Bounded, and every name escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from cloudtrain.report import figures, tables
from cloudtrain.report.escape import code, plain
from cloudtrain.report.figures import dollars
from cloudtrain.report.history import History
from cloudtrain.report.rows import rows
from cloudtrain.report.tables import Table
from cloudtrain.report.totals import by, total
from cloudtrain.report.trend import lines

if TYPE_CHECKING:
    from cloudtrain.records import NightRecord
    from cloudtrain.state.protocol import Store

SUMMARY_BYTES: Final = 1 << 20  # GitHub takes no larger summary of a step
COMMENT_CHARACTERS: Final = (
    64_000  # GitHub takes 65,536 for a comment or issue; the rest is for who adds a mark of its own
)
NIGHTS = 30  # the newest that are told
WEEKS, LINES, FAULTS = 5, 10, 10
MESSAGE_CHARACTERS = 2000


def summary(history: History, most_bytes: int = SUMMARY_BYTES) -> str:
    """The whole history: sums, budget, the newest nights, how figures move. At most so many bytes of UTF-8."""
    every = total(history.entries)
    found = rows(history)
    head = ["## cloudtrain: cost report", *headline(history)]
    left = max(0, len(found) - NIGHTS)
    more = [f"{left} older nights and runs are left out here; they are in the sums."] if left else []
    by_week = by(history, "week")
    parts = [
        "\n\n".join([*head, *_faults(history)]),
        part("Nights and runs", tables.nights(found[:NIGHTS]), more),
        part("Weeks", tables.sums(by_week[:WEEKS], every, "week"), _left_out(len(by_week) - WEEKS, "weeks")),
        part("Schedules and specs", tables.sums(by(history, "spec")[:LINES], every, "spec"), []),
    ]
    moves = tables.trend(lines(history)[:LINES])
    if moves.rows:
        parts.append(part("How it moves: the newest three runs against the nine before", moves, []))
    return bounded(parts, most_bytes)


def headline(history: History) -> list[str]:
    """What is spent, against the budget and against the quotes: a few lines."""
    every = total(history.entries)
    runs = figures.several(every.runs, "run")
    told = [f"**{tables.added(every.metered)}** metered in {runs}, {every.failed} of them failed."]
    ratio = every.metered_to_quoted
    if ratio.value is not None:
        within = f"{every.within} of them within the quoted range"
        told.append(f"Metered / quoted {figures.ratio(ratio.value)} (n {ratio.n}), {within}.")
    if every.billed.unknown < every.runs:
        told.append(f"Billed: {tables.added(every.billed)}; billed / metered {tables.with_n(every.billed_to_metered)}.")
    if every.usd_per_million_tokens.value is not None:
        told.append(
            f"{dollars(every.usd_per_million_tokens.value)} for a million tokens (n {every.usd_per_million_tokens.n})."
        )
    if history.budget is not None:
        told += _budget(history)
    return told


def _budget(history: History) -> list[str]:
    budget = history.budget
    if budget is None:
        return []
    told = []
    for what, spent, limit in (
        ("week", budget.week_spent_usd, budget.week_limit_usd),
        ("month", budget.month_spent_usd, budget.month_limit_usd),
    ):
        of = "" if limit is None else f" of {dollars(limit)}"
        more = f", and {dollars(budget.open_usd)} may still come at the worst" if budget.open_usd else ""
        told.append(f"Spent this {what}: {dollars(spent)}{of}{more}.")
    if budget.unpriced:
        told.append(f"Without a price, and in neither of both: {figures.several(budget.unpriced, 'run')}.")
    return told


def night_summary(  # noqa: PLR0913 - what a tick is, as plain values: this layer knows no ticks
    store: Store, *, outcome: str, schedule: str, date: str, run: str, message: str, nights: Sequence[NightRecord]
) -> str:
    """What a tick did, and the nights of its schedule: for the step's summary and for the forge.

    Fits a comment. Raises what reading the state raises.
    """
    from cloudtrain import settings
    from cloudtrain.report.budget import budget_of, timezone_of
    from cloudtrain.report.cost_report import report
    from cloudtrain.report.history import put_together
    from cloudtrain.runs.listing import could_name, tell_each
    from cloudtrain.runs.record import Run

    newest = sorted(nights, key=lambda each: each.due, reverse=True)[:NIGHTS]
    runs = [Run(store, name) for name in dict.fromkeys(each.run for each in newest) if could_name(name)]
    told, faults = tell_each(runs, lambda each: report(each) if each.begun else None)
    accounts = [account for account in told if account is not None]
    now = settings.now()
    budget, fault = budget_of(store, now)
    zone, wrong = timezone_of(store)
    documents = [(schedule, each) for each in newest]
    faults = [*faults, *dict.fromkeys(filter(None, (wrong, fault)))]
    found = put_together(now, zone, accounts, documents, budget, faults)
    head = [f"### {code(schedule)}: {code(outcome)}", *_said(date, run, message), *headline(found), *_faults(found)]
    left = len(nights) - len(newest)
    parts = ["\n\n".join(head), part("Nights", tables.nights(rows(found)), _left_out(left, "nights"))]
    return bounded(parts, COMMENT_CHARACTERS, characters=True)


def _said(date: str, run: str, message: str) -> list[str]:
    about = [f"night of {code(date)}"] if date else []
    about += [f"run {code(run)}"] if run else []
    return [*([", ".join(about)] if about else []), *([code(message, MESSAGE_CHARACTERS)] if message else [])]


def _faults(history: History) -> list[str]:
    if not history.faults:
        return []
    told = [f"- {code(fault, 300)}" for fault in history.faults[:FAULTS]]
    more = _left_out(len(history.faults) - FAULTS, "more")
    return [
        f"{figures.several(len(history.faults), 'record')} cannot be read and not counted:",
        "\n".join([*told, *more]),
    ]


def _left_out(count: int, what: str) -> list[str]:
    return [f"{count} {'older ' if what != 'more' else ''}{what} are left out here."] if count > 0 else []


def part(title: str, shown: Table, more: Iterable[str]) -> str:
    """A heading, a table, and what is to be said of it."""
    return "\n\n".join([f"### {title}", table(shown), *more])


def table(shown: Table) -> str:
    """A table: cells of words are code, so that nothing in them is taken for markup; numbers are ours."""
    body = [*shown.rows, *([shown.sums] if shown.sums else [])]
    lines_ = [
        list(map(plain, shown.headers)),
        ["---" if index < shown.words else "---:" for index in range(len(shown.headers))],
    ]
    lines_ += [[code(cell) if index < shown.words else plain(cell) for index, cell in enumerate(row)] for row in body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines_)


def bounded(parts: Sequence[str], most: int, characters: bool = False) -> str:
    """The parts that fit, the first ones first; then how much is left out. One that is too long is cut after a line."""
    kept: list[str] = []
    room = most - 200  # for the sentence about the rest

    def size(text: str) -> int:
        return len(text) if characters else len(text.encode())

    for number, each in enumerate(parts):
        if size(each) + 2 <= room:
            kept.append(each)
            room -= size(each) + 2
            continue
        begun: list[str] = []
        for line in each.split("\n"):
            if size(line) + 1 > room - 2:
                break
            begun.append(line)
            room -= size(line) + 1
        rest = len(parts) - number - 1
        missed = f"This is cut: {len(each.split(chr(10))) - len(begun)} lines and {rest} more parts do not fit."
        return "\n\n".join([*kept, *(["\n".join(begun)] if begun else []), missed]) + "\n"
    return "\n\n".join(kept) + "\n"
