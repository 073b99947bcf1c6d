"""The chart of what was spent in each week or month, against the budget, with what may still come."""

from __future__ import annotations

from collections.abc import Sequence

from cloudtrain.report.figures import dollars, several, short_dollars
from cloudtrain.report.page import svg
from cloudtrain.report.page.axes import HEIGHT, LEFT, RIGHT, TOP, below, dollar_axis, every
from cloudtrain.report.page.svg import Markup
from cloudtrain.report.periods import Period

BOTTOM, LANE = HEIGHT - 46.0, HEIGHT - 31.0  # below the axis a lane for what has no dollars


def spend(periods: Sequence[Period], width: int, what: str, class_: str) -> Markup:
    """A bar for each period; `what` is `week` or `month`."""
    tops = [top_of(period) for period in periods] + [float(period.limit_usd or 0) for period in periods[-1:]]
    scale = svg.from_zero(tops, BOTTOM, TOP)
    room = (width - LEFT - RIGHT) / max(len(periods), 1)
    labelled = every(len(periods), room, 62.0)
    bars = [
        bar(period, LEFT + (index + 0.5) * room, min(room * 0.6, 44.0), scale) for index, period in enumerate(periods)
    ]
    names = [
        below(LEFT + (index + 0.5) * room, short(period.name), width)
        for index, period in enumerate(periods)
        if (len(periods) - 1 - index) % labelled == 0
    ]
    parts = [dollar_axis(scale, width), *bars, *names, *limit(periods[-1:], scale, width)]
    return svg.chart(width, HEIGHT, told(periods, what), *parts, class_=class_)


def top_of(period: Period) -> float:
    """How high a period's bar is at the worst."""
    return float((period.totals.metered.usd or 0) + (period.open_usd or 0))


def bar(period: Period, middle: float, thickness: float, scale: svg.Scale) -> Markup:
    """What was metered, above it what may still come; below the axis a question mark where runs have no price."""
    metered, left = period.totals.metered, middle - thickness / 2
    shapes = []
    top = scale.at(0.0)
    if metered.usd:
        top = scale.at(float(metered.usd))
        shapes.append(svg.tag("rect", x=left, y=top, width=thickness, height=scale.at(0.0) - top, class_="metered"))
    if period.open_usd:
        above = scale.at(top_of(period))
        shapes.append(svg.tag("rect", x=left, y=above, width=thickness, height=top - above, class_="open-cost"))
    if metered.unknown:
        shapes.append(svg.text(middle, LANE, "?", "middle", "unknown"))
    return svg.mark(describe(period), *shapes) if shapes else Markup()


def describe(period: Period) -> str:
    """A period in words."""
    metered = period.totals.metered
    parts = [f"{period.name}: {several(period.totals.runs, 'run')}, {dollars(metered.usd)} metered"]
    if metered.unknown:
        parts.append(f"{metered.unknown} without a price are not in it")
    if period.open_usd:
        parts.append(f"{dollars(period.open_usd)} more at the worst")
    return "; ".join(parts)


def limit(last: Sequence[Period], scale: svg.Scale, width: int) -> list[Markup]:
    """The budget as a line across."""
    if not last or last[0].limit_usd is None:
        return []
    height = scale.at(float(last[0].limit_usd))
    words = f"budget {short_dollars(last[0].limit_usd)}"
    line = svg.tag("line", x1=LEFT, x2=width - RIGHT, y1=height, y2=height, class_="limit")
    return [svg.mark(words, line, svg.text(width - RIGHT, height - 5.0, words, "end", "halo"))]


def short(name: str) -> str:
    """A period's name below its bar: the day of a week, without its year."""
    return name[5:] if len(name) == len("2026-11-30") else name


def told(periods: Sequence[Period], what: str) -> str:
    """The chart in a sentence."""
    if not periods:
        return f"Dollars metered in each {what}: there is none yet"
    words = f"Dollars metered in each of {len(periods)} {what}s. The newest: {describe(periods[-1])}"
    return words if periods[-1].limit_usd is None else f"{words}. Budget {dollars(periods[-1].limit_usd)}"
