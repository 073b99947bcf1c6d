"""The check of the training data, before anything else is done and any money is spent.

Every row is read once, by the trainer's own reader (`templates/common`): what it refuses is an error here, with its
line, and nothing else is. Memory stays the same for a file of any size, but for one number per row that finds the rows
that repeat. Token counts are an estimate; the real tokenizer lives in the trainer's environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.spec.rows import warnings

if TYPE_CHECKING:  # the same files, where a type checker finds them
    from templates.common import lines as data_lines
    from templates.common.rows import BadRow, Row, Shape
else:
    from cloudtrain.templates.common import lines as data_lines
    from cloudtrain.templates.common.rows import BadRow, Row, Shape

CHARACTERS_PER_TOKEN = (
    4  # English text under the tokenizers in use; code and other scripts differ by up to a factor of 2
)
KEPT_PROBLEMS = 20
SHOWN_PROBLEMS = 5
SHORT_ROW_CHARACTERS = 8
FEW_ROWS = 10


class Problem(NamedTuple):
    """One fault of the data. `line` counts from 1, 0 is the file as a whole; only a fatal one stops a run."""

    file: Path
    line: int
    message: str
    fatal: bool

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class DataReport:
    """What is in the data. Counts are of the training file unless they say `eval`."""

    format: str  # messages | prompt | text | sharegpt | alpaca
    rows: int
    characters: int  # of what the model reads: contents, without keys and JSON marks
    estimated_tokens: int  # characters / 4, rounded up; one epoch, without the template's own tokens
    sha256: str
    duplicates: int  # rows that repeat an earlier one
    duplicate_lines: tuple[int, ...]  # of the first few of them
    eval_rows: int
    eval_sha256: str  # "" without an eval file
    overlap: int  # eval rows that are also trained on
    problems: tuple[Problem, ...]  # the first 20; none of them is fatal
    problem_count: int


@dataclass
class _Found:
    """What one file has shown so far."""

    path: Path
    format: str = ""
    rows: int = 0
    characters: int = 0
    short_rows: int = 0
    short_line: int = 0
    repeats: int = 0
    repeat_lines: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    sha256: str = ""
    problems: list[Problem] = field(default_factory=list)
    fatal: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    fatal_count: int = 0

    def note(self, line: int, message: str, fatal: bool = False) -> None:
        """Keep a problem, up to a limit; count it always."""
        kept = self.fatal if fatal else self.problems
        if len(kept) < KEPT_PROBLEMS:
            kept.append(Problem(self.path, line, message, fatal))
        if fatal:
            self.fatal_count += 1
        else:
            self.problem_count += 1


def check(
    path: Path,
    *,
    eval_path: Path | None = None,
    eval_fraction: float = 0.0,
    expected_format: str | None = None,
) -> DataReport:
    """Read the training file, and the eval file when there is one, to their ends.

    JSON lines, or CSV with a header when the name ends in `.csv`. Every conversation must end with the assistant.
    `expected_format` is the spec's `data.format`: rows of another shape are faults then. Faults that do not stop a run
    (rows that repeat, rows in both files, odd turns) come back as `problems`. Raises UsageError that lists the first
    fatal faults with their lines.
    """
    trained = _read(path, expected_format)
    if eval_fraction and trained.rows * eval_fraction < 1 and not trained.fatal:
        message = f"{trained.rows} rows leave none for an evaluation on {eval_fraction:g} of them"
        trained.note(0, message, fatal=True)
    evaluated = _read(eval_path, expected_format) if eval_path else None
    _raise_fatal(trained, evaluated)
    overlap = 0
    if evaluated is not None:
        if evaluated.format != trained.format:
            evaluated.note(0, f"its rows are `{evaluated.format}`, those of {path.name} `{trained.format}`")
        overlap = len(evaluated.seen & trained.seen)
        if overlap:
            evaluated.note(0, f"{_rows(overlap)} of it {_is(overlap)} also in {path.name}: the loss will look too good")
    problems = trained.problems + (evaluated.problems if evaluated else [])
    return DataReport(
        format=trained.format,
        rows=trained.rows,
        characters=trained.characters,
        estimated_tokens=-(-trained.characters // CHARACTERS_PER_TOKEN),
        sha256=trained.sha256,
        duplicates=trained.repeats,
        duplicate_lines=tuple(trained.repeat_lines),
        eval_rows=evaluated.rows if evaluated else 0,
        eval_sha256=evaluated.sha256 if evaluated else "",
        overlap=overlap,
        problems=tuple(problems[:KEPT_PROBLEMS]),
        problem_count=trained.problem_count + (evaluated.problem_count if evaluated else 0),
    )


def _read(path: Path, expected_format: str | None) -> _Found:
    found, shape = _Found(path), Shape(expected_format)
    try:
        source = data_lines.open_lines(path)
        for line, row in judged(path, source, shape):
            _take(found, line, row)
    except data_lines.Unreadable as unreadable:
        raise UsageError(str(Problem(path, unreadable.line, unreadable.message, True)), unreadable.hint) from None
    found.sha256, found.format = source.sha256(), shape.kind
    _conclude(found)
    return found


def judged(path: Path, source: data_lines.Lines, shape: Shape) -> Iterator[tuple[int, Row | str]]:
    """Every row of a file with its line, or the message with which the trainer would refuse it."""
    for line, record in data_lines.records(path, source):
        if isinstance(record, str):
            yield line, record
            continue
        try:
            yield line, shape.row(record, line)
        except BadRow as bad:
            yield line, str(bad)


def _take(found: _Found, line: int, row: Row | str) -> None:
    """Add a row, or what is wrong with it, to what was found."""
    if isinstance(row, str):
        found.note(line, row, fatal=True)
        return
    found.rows += 1
    for doubt in warnings(row):
        found.note(line, doubt)
    _count(found, line, row)


def _count(found: _Found, line: int, row: Row) -> None:
    turns = row.turns
    size = sum(len(content) for _, content in turns)
    found.characters += size
    if size < SHORT_ROW_CHARACTERS:
        found.short_rows += 1
        found.short_line = found.short_line or line
    digest = _digest(turns)
    if digest in found.seen:
        found.repeats += 1
        if len(found.repeat_lines) < SHOWN_PROBLEMS:
            found.repeat_lines.append(line)
    found.seen.add(digest)


def _digest(turns: list[tuple[str, str]]) -> int:
    """64 bits over what the model would read: among ten million rows, a false repeat has odds of one in 400,000."""
    content = "\x1e".join(f"{role}\x1f{content}" for role, content in turns)
    return int.from_bytes(hashlib.blake2b(content.encode(), digest_size=8).digest(), "little")


def _conclude(found: _Found) -> None:
    """What can be said only after the last row."""
    if not found.rows and not found.fatal:
        found.note(0, "has no rows", fatal=True)
    if 0 < found.rows < FEW_ROWS:
        found.note(0, f"has only {_rows(found.rows)}")
    if found.short_rows:
        message = f"{_rows(found.short_rows)} {_is(found.short_rows)} shorter than {SHORT_ROW_CHARACTERS} characters"
        found.note(found.short_line, f"{message}; this is the first")
    if found.repeats:
        lines = ", ".join(str(line) for line in found.repeat_lines)
        more = " and more" if found.repeats > len(found.repeat_lines) else ""
        found.note(0, f"{_rows(found.repeats)} {_repeat(found.repeats)} an earlier one (line {lines}{more})")


def _raise_fatal(trained: _Found, evaluated: _Found | None) -> None:
    fatal = trained.fatal + (evaluated.fatal if evaluated else [])
    if not fatal:
        return
    total = trained.fatal_count + (evaluated.fatal_count if evaluated else 0)
    lines = [str(problem) for problem in fatal[:SHOWN_PROBLEMS]]
    if total > len(lines):
        lines.append(f"and {total - len(lines)} more")
    hint = "fix or remove these rows" if fatal[0].line else "name another file"
    raise UsageError("\n".join(lines), f"{hint}; nothing was started")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"
