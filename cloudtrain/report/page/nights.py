"""The chart of nights: what each was quoted, metered and billed, and which of them failed, were skipped or missed."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from cloudtrain.report.figures import dollars
from cloudtrain.report.page import svg
from cloudtrain.report.page.axes import HEIGHT, LEFT, RIGHT, TOP, below, dollar_axis, every
from cloudtrain.report.page.svg import Markup
from cloudtrain.report.rows import Row, status_of

BOTTOM, LANE = HEIGHT - 50.0, HEIGHT - 36.0  # below the axis a lane for what has no dollars
MOST_WIDE, MOST_NARROW = 60, 20


def nights(rows: Sequence[Row], width: int, class_: str) -> Markup:
    """Rows oldest first: a bar for the quoted range, a dot for what was metered, a ring for what was billed."""
    amounts = [float(each) for row in rows if row.entry for each in of_interest(row) if each is not None]
    scale = svg.from_zero(amounts, BOTTOM, TOP)
    room = (width - LEFT - RIGHT) / max(len(rows), 1)
    labelled = every(len(rows), room, 46.0)
    marks = [one(row, LEFT + (index + 0.5) * room, min(room * 0.5, 10.0), scale) for index, row in enumerate(rows)]
    names = [
        below(LEFT + (index + 0.5) * room, row.date[5:10], width)
        for index, row in enumerate(rows)
        if (len(rows) - 1 - index) % labelled == 0
    ]
    return svg.chart(width, HEIGHT, told(rows), dollar_axis(scale, width), *marks, *names, class_=class_)


def of_interest(row: Row) -> tuple[Decimal | None, ...]:
    """The dollars of a row that are drawn."""
    entry = row.entry
    return () if entry is None else (entry.low_usd, entry.high_usd, entry.metered_usd, entry.billed_usd)


def one(row: Row, middle: float, thickness: float, scale: svg.Scale) -> Markup:
    """The mark of one night or run."""
    entry, shapes = row.entry, []
    if entry is not None:
        if entry.low_usd is not None and entry.high_usd is not None:
            top, bottom = scale.at(float(entry.high_usd)), scale.at(float(entry.low_usd))
            height = max(bottom - top, 1.0)
            shapes.append(
                svg.tag("rect", x=middle - thickness / 2, y=top, width=thickness, height=height, class_="quoted")
            )
        if entry.billed_usd is not None:
            height = scale.at(float(entry.billed_usd))
            shapes.append(svg.tag("circle", cx=middle, cy=height, r=5.5, class_="billed"))
        if entry.metered_usd is not None:
            shapes.append(svg.tag("circle", cx=middle, cy=scale.at(float(entry.metered_usd)), r=3.2, class_="dot"))
    return svg.mark(describe(row), *shapes, *lane(row, middle))


SHAPES = {  # below the axis, each kind with one of its own; nothing for a finished run that has a price
    "failed": "m-4 -4l8 8m0 -8l-8 8",
    "missed": "m0 -5l4.5 8.5h-9z",
    "skipped": "m-4 -4h8v8h-8z",
    "unchanged": "m-4 0h8",
    "cancelled": "m-3 -4v8m6 -8v8",
    "open": "m-3 -4l7 4l-7 4z",
}
NAMES = {"open": "not over", "skipped": "skipped for the budget"}


def lane(row: Row, middle: float) -> list[Markup]:
    """What is said below the axis."""
    status = status_of(row)
    if status in SHAPES:
        return [shape(status, middle, LANE)]
    if row.entry is not None and row.entry.metered_usd is None:
        return [svg.text(middle, LANE + 4.0, "?", "middle", "unknown")]
    return []


def shape(status: str, x: float, y: float) -> Markup:
    """The shape of a kind."""
    return svg.tag("path", d=f"M{x:.1f} {y:.1f}{SHAPES[status]}", class_=status)


def describe(row: Row) -> str:
    """A night in words."""
    parts = [f"{row.date} {row.line}: {row.outcome}"]
    entry = row.entry
    if entry is not None:
        if entry.low_usd is not None:
            parts.append(f"quoted {dollars(entry.low_usd)} to {dollars(entry.high_usd)}")
        parts.append(f"metered {dollars(entry.metered_usd)}")
        if entry.billed_usd is not None:
            parts.append(f"billed {dollars(entry.billed_usd)} ({entry.billed_status})")
    return ", ".join(parts)


def told(rows: Sequence[Row]) -> str:
    """The chart in a sentence."""
    if not rows:
        return "Dollars of each night: there is none yet"
    kinds = [status_of(row) for row in rows]
    counts = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
    return f"Dollars of each of {len(rows)} nights or runs, {rows[0].date} to {rows[-1].date}: {', '.join(counts)}"
