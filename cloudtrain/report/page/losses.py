"""The chart of losses: of training and on held-out rows, night by night, one chart for each line of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cloudtrain.report import figures
from cloudtrain.report.history import Entry
from cloudtrain.report.page import svg
from cloudtrain.report.page.axes import HEIGHT, LEFT, RIGHT, TOP, axis, below, every
from cloudtrain.report.page.svg import Markup

BOTTOM = HEIGHT - 30.0
MOST_WIDE, MOST_NARROW = 30, 12


def losses(name: str, entries: Sequence[tuple[str, Entry]], width: int, class_: str) -> Markup:
    """(date, run) oldest first: circles joined for training, squares joined for held-out rows, gaps where unknown."""
    known = [value for _, entry in entries for value in (entry.loss, entry.eval_loss) if value is not None]
    scale = svg.around(known, BOTTOM, TOP)
    room = (width - LEFT - RIGHT) / max(len(entries), 1)
    labelled = every(len(entries), room, 46.0)
    middles = [LEFT + (index + 0.5) * room for index in range(len(entries))]
    names = [
        below(x, date[5:10], width)
        for index, (x, (date, _)) in enumerate(zip(middles, entries, strict=True))
        if (len(entries) - 1 - index) % labelled == 0
    ]
    of_training = _points(middles, entries, scale, lambda entry: entry.loss)
    held_out = _points(middles, entries, scale, lambda entry: entry.eval_loss)
    circles = [
        svg.mark(f"{date}: loss {figures.loss(value)}", svg.tag("circle", cx=x, cy=y, r=3.5, class_="dot"))
        for date, value, x, y in of_training
    ]
    squares = [
        svg.mark(
            f"{date}: loss on held-out rows {figures.loss(value)}",
            svg.tag("rect", x=x - 3.5, y=y - 3.5, width=7.0, height=7.0, class_="evaluated"),
        )
        for date, value, x, y in held_out
    ]
    joined = [_joined(of_training, room, "trained-line"), _joined(held_out, room, "evaluated-line")]
    parts = [axis(scale, width, figures.loss), *joined, *squares, *circles, *names]
    return svg.chart(width, HEIGHT, told(name, entries), *parts, class_=class_)


Point = tuple[str, float, float, float]  # date, value, x, y


def _points(
    middles: Sequence[float],
    entries: Sequence[tuple[str, Entry]],
    scale: svg.Scale,
    of: Callable[[Entry], float | None],
) -> list[Point]:
    found = []
    for x, (date, entry) in zip(middles, entries, strict=True):
        value = of(entry)
        if value is not None:
            found.append((date, value, x, scale.at(value)))
    return found


def _joined(points: Sequence[Point], room: float, class_: str) -> Markup:
    """A line through neighbours; where a run has no figure there is a gap."""
    parts, last = [], None
    for _, _, x, y in points:
        parts.append(f"{'L' if last is not None and x - last < room * 1.5 else 'M'}{x:.1f} {y:.1f}")
        last = x
    return svg.tag("path", d="".join(parts), class_=class_) if parts else Markup()


def told(name: str, entries: Sequence[tuple[str, Entry]]) -> str:
    """The chart in a sentence."""
    if not entries:
        return f"Losses of {name}: there is no finished run yet"
    date, newest = entries[-1]
    words = f"Losses of {name} over {len(entries)} runs; the newest, of {date}: loss {figures.loss(newest.loss)}"
    return f"{words}, on held-out rows {figures.loss(newest.eval_loss)}"
