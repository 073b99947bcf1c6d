"""How fast and how expensive each kind of machine was for each line of runs, with how many runs say so."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from cloudtrain.report.history import Entry, History


class Spread(NamedTuple):
    """The least, the median and the most of `n` figures; None without any."""

    low: float | None
    middle: float | None
    high: float | None
    n: int


class Kind(NamedTuple):
    """A kind of machine, as an offer names it, on one line of runs: another model has another speed there."""

    offer: str
    line: str
    speed: Spread  # tokens per second
    cost: Spread  # dollars for a million tokens
    runs: int


def kinds(history: History) -> list[Kind]:
    """Every kind with a finished run, those with most runs first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in history.entries:
        if entry.state == "finished":
            groups.setdefault((entry.offer, entry.line), []).append(entry)
    found = [_kind(offer, line, entries) for (offer, line), entries in groups.items()]
    return sorted(found, key=lambda kind: (-kind.runs, kind.line, kind.offer))


def _kind(offer: str, line: str, entries: Sequence[Entry]) -> Kind:
    costs = [each.usd_per_million_tokens for each in entries]
    speeds = [each.tokens_per_second for each in entries]
    return Kind(
        offer,
        line,
        _spread([each for each in speeds if each is not None]),
        _spread([float(each) for each in costs if each is not None]),
        len(entries),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values), len(values)) if values else Spread(None, None, None, 0)
