"""The chart of machine kinds: least, median and most of one figure for each, in a row of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cloudtrain.report.kinds import Kind, Spread
from cloudtrain.report.page import svg
from cloudtrain.report.page.svg import Markup

ROW, FOOT, SIDE = 44.0, 26.0, 10.0
MOST = 12  # rows that are drawn; the table has them all
LABEL_PX = 7.2  # of a character, at the most


class Axis(NamedTuple):
    """Which figure is drawn, and how its values are written."""

    name: str
    of: Callable[[Kind], Spread]
    words: Callable[[float], str]


def kinds(shown: Sequence[Kind], axis: Axis, width: int, class_: str) -> Markup:
    """A row for each kind: its name, a line from least to most, a dot at the median."""
    shown = shown[:MOST]
    spreads = [axis.of(kind) for kind in shown]
    values = [value for spread in spreads for value in spread[:3] if value is not None]
    scale = svg.around(values, SIDE + 6, width - SIDE - 6.0)
    height = ROW * len(shown) + FOOT
    ticks = scale.ticks(max(2, width // 130))
    lines = [svg.tag("line", x1=scale.at(tick), x2=scale.at(tick), y1=4.0, y2=height - FOOT) for tick in ticks]
    numbers = [
        svg.text(scale.at(tick), height - 9.0, axis.words(tick), _anchor(scale.at(tick), width)) for tick in ticks
    ]
    rows = [row(kind, axis, index * ROW, scale, width) for index, kind in enumerate(shown)]
    told = f"{axis.name} of each kind of machine: {'; '.join(describe(kind, axis) for kind in shown) or 'none yet'}"
    return svg.chart(width, height, told, svg.tag("g", *lines, *numbers, class_="axis"), *rows, class_=class_)


def row(kind: Kind, axis: Axis, top: float, scale: svg.Scale, width: int) -> Markup:
    """One kind. Without a figure its row says so."""
    spread = axis.of(kind)
    name = svg.text(SIDE, top + 14.0, label(kind, spread, width), None, "halo")
    height = top + 27.0
    if spread.low is None or spread.middle is None or spread.high is None:
        return svg.mark(describe(kind, axis), name, svg.text(SIDE, height + 4.0, "? not measured", None, "unknown"))
    line = svg.tag("line", x1=scale.at(spread.low), x2=scale.at(spread.high), y1=height, y2=height, class_="range")
    dot = svg.tag("circle", cx=scale.at(spread.middle), cy=height, r=4.5, class_="dot")
    return svg.mark(describe(kind, axis), name, line, dot)


def label(kind: Kind, spread: Spread, width: int) -> str:
    """The name above a row, cut to what fits."""
    room, tail = int((width - 2 * SIDE) / LABEL_PX), f" (n {spread.n})"
    name = f"{kind.offer} · {kind.line}"
    return (name if len(name) + len(tail) <= room else name[: room - len(tail) - 1] + "…") + tail


def describe(kind: Kind, axis: Axis) -> str:
    """One kind in words."""
    spread = axis.of(kind)
    if spread.low is None or spread.middle is None or spread.high is None:
        return f"{kind.offer}, {kind.line}: {axis.name} not measured"
    low, middle, high = (axis.words(value) for value in (spread.low, spread.middle, spread.high))
    return f"{kind.offer}, {kind.line}: {axis.name} {middle}, from {low} to {high} (n {spread.n})"


def _anchor(x: float, width: int) -> str:
    return "start" if x < 30 else "end" if x > width - 30 else "middle"
