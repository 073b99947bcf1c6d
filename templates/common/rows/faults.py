"""What is wrong with rows: one fault, and many of a kind told in one sentence with their number and first places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

SHOWN = 3  # places named in a sentence
MOST_KINDS = 20  # kept apart; those of further kinds are counted only


class BadRow(Exception):
    """A row that cannot be trained on; the text is a message about it, without its place.

    Faults with the same `kind` are told together. It is the message without its numbers where nothing else is said.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind or re.sub(r"\d+", "#", message)


class Told(NamedTuple):
    """One kind of fault: where it was first seen (0: the file as a whole), in a sentence, and how often."""

    line: int
    sentence: str
    count: int


class Faults:
    """Faults as they come, in constant memory. `unit` is what their numbers count: `line` or `row`."""

    def __init__(self) -> None:
        self.count = 0
        self._kinds: dict[str, tuple[str, list[int], int]] = {}

    def add(self, line: int, message: str, kind: str) -> None:
        """One more, at `line` (0: of the file as a whole)."""
        self.count += 1
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            return
        first, lines, count = self._kinds.get(kind, (message, [], 0))
        if len(lines) < SHOWN:
            lines.append(line)
        self._kinds[kind] = (first, lines, count + 1)

    def told(self, unit: str) -> Iterator[Told]:
        """A sentence for each kind, in the order in which they were first seen."""
        for message, lines, count in self._kinds.values():
            yield Told(lines[0], message + _places(lines, count, unit), count)


def _places(lines: list[int], count: int, unit: str) -> str:
    """` (62 rows: line 3, 17, 40 and 59 more)`; nothing for one alone."""
    if count == 1:
        return ""
    more = f" and {count - len(lines)} more" if count > len(lines) else ""
    return f" ({count} rows: {unit} {', '.join(map(str, lines))}{more})"
