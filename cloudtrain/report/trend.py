"""How a line of runs moves: dollars for a million tokens, tokens per second and losses, from night to night.

A line is a schedule, or a spec where no schedule began the run. Finished runs alone: what a run that was cut off
reached says nothing about the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any, Final, NamedTuple

from cloudtrain.report import figures
from cloudtrain.report.history import Entry, History
from cloudtrain.units import rfc3339

SHOWN = 30  # of a line, the newest runs
NEWEST, BEFORE = 3, 9  # so many newest figures are compared with so many before them
LEAST_BEFORE = 2
STEADY = 0.05  # a change below this part is none
BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "·"  # a run without the figure


class Figure(NamedTuple):
    """What is followed: its key in JSON, its name, how a run has it, how it is written, and whether less is better."""

    key: str
    name: str
    of: Callable[[Entry], float | None]
    words: figures.Words
    less_is_better: bool


FIGURES: Final = (
    Figure(
        "usd_per_million_tokens",
        "$/M tokens",
        lambda entry: None if entry.usd_per_million_tokens is None else float(entry.usd_per_million_tokens),
        figures.dollars_of,
        True,
    ),
    Figure("tokens_per_second", "tokens/s", lambda entry: entry.tokens_per_second, figures.speed, False),
    Figure("loss", "loss", lambda entry: entry.loss, figures.loss, True),
    Figure("eval_loss", "eval loss", lambda entry: entry.eval_loss, figures.loss, True),
)


class Course(NamedTuple):
    """One figure over the line's runs, oldest first, None where a run has none of it.

    `change` is how the median of the newest differs from the median of those before, as a part of it; None with too
    few of them.
    """

    figure: Figure
    values: tuple[float | None, ...]
    change: float | None

    @property
    def known(self) -> list[float]:
        """The figures that there are."""
        return [value for value in self.values if value is not None]

    @property
    def arrow(self) -> str:
        """↑ ↓ → by the change, "" with too few figures."""
        if self.change is None:
            return ""
        return "→" if abs(self.change) < STEADY else "↑" if self.change > 0 else "↓"

    @property
    def verdict(self) -> str:
        """better | worse | steady, "" with too few figures."""
        if self.change is None:
            return ""
        if abs(self.change) < STEADY:
            return "steady"
        return "better" if (self.change < 0) == self.figure.less_is_better else "worse"

    def document(self) -> dict[str, Any]:
        """For JSON."""
        change = None if self.change is None else round(self.change, 4)
        return {"values": list(self.values), "n": len(self.known), "change": change, "verdict": self.verdict}


class Line(NamedTuple):
    """A schedule's or spec's newest finished runs, oldest first, and how their figures move."""

    name: str
    entries: tuple[Entry, ...]
    courses: tuple[Course, ...]

    def document(self) -> dict[str, Any]:
        """For JSON; see `cloudtrain schema report`."""
        return {
            "spec": self.name,
            "runs": [entry.run for entry in self.entries],
            "started_at": [rfc3339(entry.started) for entry in self.entries],
            "offers": [entry.offer for entry in self.entries],
            "figures": {course.figure.key: course.document() for course in self.courses},
        }


def lines(history: History) -> list[Line]:
    """Every line that has a finished run, the one with the newest run first."""
    groups: dict[str, list[Entry]] = {}
    for entry in history.entries:
        if entry.state == "finished":
            groups.setdefault(entry.line, []).append(entry)
    return [line_of(name, tuple(reversed(entries[:SHOWN]))) for name, entries in groups.items()]


def line_of(name: str, entries: tuple[Entry, ...]) -> Line:
    """A line of these runs, oldest first."""
    courses = []
    for figure in FIGURES:
        values = tuple(figure.of(entry) for entry in entries)
        courses.append(Course(figure, values, change_of([value for value in values if value is not None])))
    return Line(name, entries, tuple(courses))


def change_of(known: list[float]) -> float | None:
    """How far the newest figures are from those before, as a part of these."""
    newest, earlier = known[-NEWEST:], known[:-NEWEST][-BEFORE:]
    if len(earlier) < LEAST_BEFORE or not median(earlier):
        return None
    return (median(newest) - median(earlier)) / abs(median(earlier))


def blocks(values: tuple[float | None, ...], width: int) -> str:
    """The newest figures as a line of blocks, the least of them the lowest."""
    shown = values[-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return GAP * len(shown)
    low, span = min(known), max(known) - min(known)
    steps = len(BLOCKS) - 1
    return "".join(
        GAP if value is None else BLOCKS[round((value - low) / span * steps) if span else 3] for value in shown
    )
