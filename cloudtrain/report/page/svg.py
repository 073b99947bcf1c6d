"""Drawing: elements as text, scales, ticks. What is drawn is a part of an HTML page, and well-formed as XML too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cloudtrain.report.escape import html

FINEST = 1e-12  # a span below this is none
FARTHEST = 1e100  # what is beyond is drawn there
DECADES_FOR_LOG = 1.5  # values further apart are drawn on a logarithmic scale


class Markup(str):
    """Text that is markup already: the only text that is not escaped."""

    __slots__ = ()


class Scale(NamedTuple):
    """Values from `low` to `high` along pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value is drawn; one beyond the ends at the end."""
        low, high, value = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        share = (value - low) / (high - low) if high - low > FINEST else 0.5
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values within the scale."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            every = max(1, -(-(last - first + 1) // most))
            return [10.0**power for power in range(first, last + 1, every)]
        step = round_step((self.high - self.low) / most)
        count = int((self.high - self.low) / step + 1e-6)
        return [math.ceil(self.low / step - 1e-9) * step + number * step for number in range(count + 1)]


def round_step(at_least: float) -> float:
    """The least of 1, 2, 5 times a power of ten that is no less."""
    if not at_least > FINEST:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(at_least))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= at_least * (1 - 1e-9))


def from_zero(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale from zero to a round value above all of these."""
    highest = min(max((value for value in values if value > FINEST), default=1.0), FARTHEST)
    step = round_step(highest / 4)
    return Scale(0.0, math.ceil(highest / step - 1e-9) * step, start, end)


def around(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale around these, with some room; logarithmic when they are all positive and far apart."""
    low, high = max(min(values, default=0.0), -FARTHEST), min(max(values, default=1.0), FARTHEST)
    if low > 0 and high / low > 10**DECADES_FOR_LOG:
        return Scale(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)), start, end, log=True)
    step = round_step((high - low) / 4 or abs(high) / 2)
    if not high - low > FINEST:
        return Scale(low - step, high + step, start, end)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, start, end)


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element. Children that are no Markup are escaped, and attributes too; `class_` and `aria_label` are named so.

    An attribute that is None is left out; floats are written to a tenth of a pixel.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(child if isinstance(child, Markup) else html(child, 2000) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>" if inner or name not in EMPTY else f"<{name}{written}/>")


EMPTY = {"circle", "line", "meta", "path", "rect", "use"}  # elements that have no end tag when they are empty


def _attribute(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return html(str(value), 2000)


def join(parts: Iterable[str]) -> Markup:
    """Markup one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else html(part, 2000) for part in parts))


def text(x: float, y: float, words: str, anchor: str | None = None, class_: str | None = None) -> Markup:
    """Words at a place; `anchor` is start, middle or end."""
    return tag("text", words, x=x, y=y, text_anchor=anchor, class_=class_)


def mark(told: str, *shapes: str, class_: str | None = None) -> Markup:
    """Something that stands for a figure, with the words for who cannot see it, or rests the pointer on it."""
    return tag("g", tag("title", told), *shapes, class_=class_)


def chart(width: float, height: float, told: str, *parts: str, class_: str = "") -> Markup:
    """A whole drawing; `told` says what it shows to who cannot see it."""
    return tag(
        "svg",
        *parts,
        class_=class_ or None,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=told,
    )
