"""The page of a history: its figures, its charts, and below each chart the table of the same numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from cloudtrain.report import figures, tables
from cloudtrain.report.figures import dollars
from cloudtrain.report.history import History
from cloudtrain.report.kinds import kinds
from cloudtrain.report.page import kinds as kinds_chart
from cloudtrain.report.page import losses as losses_chart
from cloudtrain.report.page import nights as nights_chart
from cloudtrain.report.page.axes import NARROW, WIDE
from cloudtrain.report.page.spend import spend
from cloudtrain.report.page.svg import Markup, chart, join, tag
from cloudtrain.report.periods import periods
from cloudtrain.report.rows import rows, status_of
from cloudtrain.report.tables import Table
from cloudtrain.report.totals import BY, by, total
from cloudtrain.report.trend import FIGURES, lines
from cloudtrain.report.windows import WINDOWS
from cloudtrain.units import rfc3339

STYLE = Path(__file__).parent / "style.css"
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
MOST_ROWS = 370  # of the table of nights: a year's
MOST_GROUPS, MOST_LINES, MOST_FAULTS = 30, 4, 20
PERIODS_WIDE, PERIODS_NARROW = 12, 6
LEGEND = {
    "quoted range": '<rect x="5" y="1" width="6" height="14" class="quoted"/>',
    "metered": '<circle cx="8" cy="8" r="4" class="dot"/>',
    "billed": '<circle cx="8" cy="8" r="5.5" class="billed"/>',
}
LEGEND_OF_LOSSES = {
    "training": '<circle cx="8" cy="8" r="4" class="dot"/>',
    "held-out rows": '<rect x="4" y="4" width="8" height="8" class="evaluated"/>',
}


def render(history: History) -> str:
    """The page. It is HTML, and well-formed as XML after its first line."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", "cloudtrain: cost report"),
        tag("style", Markup(STYLE.read_text(encoding="utf-8"))),
    )
    main = tag(
        "main",
        *_top(history),
        *_spent(history),
        *_nights(history),
        *_kinds(history),
        *_losses(history),
        *_sums(history),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _top(history: History) -> list[Markup]:
    """What a reader wants to know first."""
    every = total(history.entries)
    made = (rfc3339(history.made) or "").replace("T", " ").replace("Z", " UTC")
    facts = [
        *_budget_facts(history),
        ("metered in all", tables.added(every.metered), f"{figures.several(every.runs, 'run')}, {every.failed} failed"),
    ]
    if every.metered_to_quoted.value is not None:
        n, within = every.metered_to_quoted.n, every.within
        facts.append(
            (
                "metered / quoted",
                figures.ratio(every.metered_to_quoted.value),
                f"{within} of {n} within the quoted range",
            )
        )
    if every.billed.unknown < every.runs:
        compared = every.billed_to_metered
        told = f"billed / metered {tables.with_n(compared)}" if compared.value is not None else "provisional"
        facts.append(
            ("billed", dollars(every.billed.usd), f"{every.runs - every.billed.unknown} of {every.runs} runs; {told}")
        )
    if (cost := every.usd_per_million_tokens).value is not None:
        facts.append(("$/M tokens", dollars(cost.value), f"n {cost.n}, as metered"))
    items = [tag("div", tag("dt", name), tag("dd", value, tag("small", more))) for name, value, more in facts]
    top = [
        tag("h1", "Cost report"),
        tag(
            "p",
            f"Made {made}. Weeks begin on Monday, in {history.zone_name}; a run belongs to the one in which it began.",
            class_="soft",
        ),
        tag("dl", *items, class_="facts"),
    ]
    if history.faults:
        listed = [tag("li", fault) for fault in history.faults[:MOST_FAULTS]]
        head = f"{figures.several(len(history.faults), 'record')} cannot be read and not counted:"
        top.append(tag("div", tag("p", head), tag("ul", *listed), class_="wrong"))
    return top


def _budget_facts(history: History) -> list[tuple[str, str, str]]:
    budget = history.budget
    if budget is None:
        return []
    found = []
    for what, spent, limit in (
        ("this week", budget.week_spent_usd, budget.week_limit_usd),
        ("this month", budget.month_spent_usd, budget.month_limit_usd),
    ):
        more = f"of {dollars(limit)}" if limit is not None else "no limit is set"
        if budget.open_usd:
            more += f"; {dollars(budget.open_usd)} more at the worst"
        found.append((f"spent {what}", dollars(spent), more))
    if budget.unpriced:
        found.append(
            ("without a price", figures.several(budget.unpriced, "run"), "in this week or month, and in neither sum")
        )
    return found


def _both(draw: partial[Markup], caption: str) -> Markup:
    """A chart for wide and for narrow screens."""
    wide, narrow = draw(width=WIDE, class_="wide"), draw(width=NARROW, class_="narrow")
    return tag("figure", wide, narrow, tag("figcaption", caption))


def _spent(history: History) -> list[Markup]:
    parts = [tag("h2", "Spent, and the budget")]
    for what in WINDOWS:
        shown = periods(history, what, PERIODS_WIDE)
        wide = spend(shown, WIDE, what, "wide")
        narrow = spend(shown[-PERIODS_NARROW:], NARROW, what, "narrow")
        caption = f"Metered in each {what}; dashed: what may still come at the worst, and today's budget; ?: no price"
        parts += [
            tag("h3", f"By {what}"),
            tag("figure", wide, narrow, tag("figcaption", caption)),
            html_table(tables.periods(shown, what), f"The same in numbers, by {what}"),
        ]
    return parts


def _nights(history: History) -> list[Markup]:
    found = rows(history)
    oldest_first = found[::-1]
    wide = nights_chart.nights(oldest_first[-nights_chart.MOST_WIDE :], WIDE, "wide")
    narrow = nights_chart.nights(oldest_first[-nights_chart.MOST_NARROW :], NARROW, "narrow")
    statuses = {status_of(row) for row in found} & set(nights_chart.SHAPES)
    shapes = {name: str(nights_chart.shape(name, 8, 8)) for name in nights_chart.SHAPES if name in statuses}
    marks = {**LEGEND, **{nights_chart.NAMES.get(name, name): shape for name, shape in shapes.items()}}
    most = f"{nights_chart.MOST_WIDE}, on a narrow screen {nights_chart.MOST_NARROW}"
    caption = f"The newest of {len(found)}, at most {most}; a number that is unknown has no mark, and ? says so"
    left = len(found) - MOST_ROWS
    note = f"; {left} older ones are left out, and are in the sums" if left > 0 else ""
    return [
        tag("h2", "Nights and runs"),
        tag("figure", _legend(marks), wide, narrow, tag("figcaption", caption)),
        html_table(tables.nights(found[:MOST_ROWS]), f"All of them, newest first{note}"),
    ]


def _kinds(history: History) -> list[Markup]:
    found = kinds(history)
    if not found:
        return []
    parts = [tag("h2", "Machines")]
    for axis in (
        kinds_chart.Axis("tokens per second", lambda kind: kind.speed, figures.speed),
        kinds_chart.Axis("dollars for a million tokens", lambda kind: kind.cost, figures.dollars_of),
    ):
        draw = partial(kinds_chart.kinds, found, axis)
        parts.append(_both(draw, f"{axis.name}: least, median and most of finished runs, n of them"))
    table = tables.kinds(found)
    return [*parts, html_table(table._replace(rows=table.rows[:MOST_GROUPS]), "The same in numbers")]


def _losses(history: History) -> list[Markup]:
    found = [
        line
        for line in lines(history)
        if any(entry.loss is not None or entry.eval_loss is not None for entry in line.entries)
    ]
    if not found:
        return []
    dates = {row.run: row.date for row in rows(history) if row.entry is not None}
    parts = [tag("h2", "Losses")]
    for line in found[:MOST_LINES]:
        dated = [(dates.get(entry.run, figures.NONE), entry) for entry in line.entries]
        wide = losses_chart.losses(line.name, dated[-losses_chart.MOST_WIDE :], WIDE, "wide")
        narrow = losses_chart.losses(line.name, dated[-losses_chart.MOST_NARROW :], NARROW, "narrow")
        caption = "Loss at the end of each finished run: circles of training, squares on held-out rows"
        parts += [
            tag("h3", line.name),
            tag("figure", _legend(LEGEND_OF_LOSSES), wide, narrow, tag("figcaption", caption)),
            html_table(tables.losses(line, dates), "The same in numbers"),
        ]
    return parts


def _sums(history: History) -> list[Markup]:
    everything = total(history.entries)
    parts = [tag("h2", "Sums")]
    for what in BY:
        table = tables.sums(by(history, what), everything, what)
        left = len(table.rows) - MOST_GROUPS
        note = f"; {left} more are left out, and are in the sum" if left > 0 else ""
        parts.append(html_table(table._replace(rows=table.rows[:MOST_GROUPS]), f"By {what}{note}"))
    moves = tables.trend(lines(history)[:MOST_GROUPS])
    if moves.rows:
        parts.append(
            html_table(
                moves, f"How {', '.join(figure.name for figure in FIGURES)} move: newest runs against those before"
            )
        )
    return parts


def _legend(marks: dict[str, str]) -> Markup:
    items = []
    for name, shape in marks.items():
        drawing = chart(16, 16, name, Markup(shape))
        items.append(tag("li", drawing, name))
    return tag("ul", *items, class_="key")


def html_table(table: Table, caption: str) -> Markup:
    """A table that scrolls by itself where it is too wide."""
    head = tag("tr", *(_cell("th", name, index < table.words, "col") for index, name in enumerate(table.headers)))
    body = join(_row(row, table.words) for row in table.rows)
    parts = [tag("caption", caption), tag("thead", head), tag("tbody", body)]
    if table.sums is not None:
        parts.append(tag("tfoot", _row(table.sums, table.words)))
    return tag("div", tag("table", *parts), class_="scroll", tabindex=0, role="region", aria_label=caption)


def _row(cells: list[str], words: int) -> Markup:
    first, *rest = cells
    others = (_cell("td", text, index < words, None) for index, text in enumerate(rest, 1))
    return tag("tr", _cell("th", first, True, "row"), *others)


def _cell(name: str, text: str, words: bool, scope: str | None) -> Markup:
    return tag(name, text, class_="l" if words else None, scope=scope)
