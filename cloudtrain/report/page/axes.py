"""What the charts have in common: their measures, and the lines and numbers behind the marks."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cloudtrain.report.figures import short_dollars
from cloudtrain.report.page import svg
from cloudtrain.report.page.svg import Markup

WIDE, NARROW = 760, 340  # both are drawn, and the page shows the one that fits: text keeps its size
HEIGHT, TOP, LEFT, RIGHT = 220.0, 18.0, 58.0, 8.0
LETTER = 7.6  # pixels of a digit, at the most


def dollar_axis(scale: svg.Scale, width: int) -> Markup:
    """Lines across at round dollars, with their amounts."""
    return axis(scale, width, lambda value: short_dollars(Decimal(f"{value:.9g}")))


def axis(scale: svg.Scale, width: int, words: Callable[[float], str]) -> Markup:
    """Lines across at round values, with these words for each."""
    parts = []
    for value in scale.ticks():
        height = scale.at(value)
        parts.append(svg.tag("line", x1=LEFT, x2=width - RIGHT, y1=height, y2=height))
        parts.append(svg.text(LEFT - 6.0, height + 4.0, words(value), "end"))
    return svg.tag("g", *parts, class_="axis")


def below(x: float, words: str, width: int) -> Markup:
    """What is written below the axis: in the middle below a mark, but never beyond the drawing."""
    half = len(words) * LETTER / 2
    return svg.text(min(x, width - half), HEIGHT - 10.0, words, "middle")


def every(count: int, room: float, needed: float) -> int:
    """Which of so many labels are written (every first, second, third ...), when each has `room` and needs more."""
    return max(1, -(-int(needed) // max(int(room), 1))) if count else 1
