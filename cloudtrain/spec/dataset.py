"""The check of the training data, before anything else is done and any money is spent.

Every row is read once, by the trainer's own reader (`templates/common/rows`): what it refuses is an error here, one
sentence for each kind of fault with its lines, and nothing else is. Memory stays the same for a file of any size, but
for one number per row that finds the rows that repeat. Token counts are an estimate; the real tokenizer lives in the
trainer's environment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.spec.rows import Doubt, doubts

if TYPE_CHECKING:  # the same files, where a type checker finds them
    from templates.common.rows import BadRow, Faults, Row, Source, Unreadable
    from templates.common.rows.parquet import records as read_parquet
    from templates.common.rows.source import ReadParquet
else:
    from cloudtrain.templates.common.rows import BadRow, Faults, Row, Source, Unreadable
    from cloudtrain.templates.common.rows.parquet import records as read_parquet

CHARACTERS_PER_TOKEN = (
    4  # English text under the tokenizers in use; code and other scripts differ by up to a factor of 2
)
# What a chat template adds, measured with SmolLM2's (ChatML) and the same for Llama 3's by counting its marks: role and
# end of each message; and a system text of its own in a conversation without one, which SmolLM2's, Qwen2.5's and Llama
# 3's templates have and Qwen3's, Gemma's and Mistral's have not.
TOKENS_A_MESSAGE = 5
TOKENS_OF_OWN_SYSTEM_TEXT = 22
SHOWN_PROBLEMS = 5
SHORT_ROW_CHARACTERS = 8
FEW_ROWS = 10
GLANCE = 100  # rows


class Problem(NamedTuple):
    """One kind of fault of the data, and where it was first seen; only a fatal one stops a run.

    `line` counts from 1, 0 is the file as a whole. In files where lines mean nothing it counts rows, as `unit` says.
    """

    file: Path
    line: int
    message: str
    fatal: bool
    unit: str = "line"
    by_template: bool = False  # what it says is known for certain where the model's chat template is

    def __str__(self) -> str:
        if self.unit == "row" and self.line:
            return f"{self.file}: row {self.line}: {self.message}"
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class DataReport:
    """What is in the data. Counts are of the training file unless they say `eval`."""

    format: str  # messages | prompt | text | sharegpt | alpaca | paragraphs
    rows: int
    characters: int  # of what the model reads: contents, without keys and JSON marks
    messages: int  # of all conversations: a chat template writes its marks around each
    without_system: int  # conversations for which some templates write a system text of their own
    sha256: str
    duplicates: int  # rows that repeat an earlier one
    duplicate_lines: tuple[int, ...]  # of the first few of them
    eval_rows: int
    eval_sha256: str  # "" without an eval file
    overlap: int  # eval rows that are also trained on
    problems: tuple[Problem, ...]  # one for each kind; none of them is fatal
    problem_count: int  # of rows with a doubt, a row once for each

    @property
    def fewest_tokens(self) -> int:
        """Of one epoch: characters / 4, rounded up, and the template's marks around each message."""
        return -(-self.characters // CHARACTERS_PER_TOKEN) + TOKENS_A_MESSAGE * self.messages

    @property
    def estimated_tokens(self) -> int:
        """The same with a system text of the template's own, which counts for more than it is where rows are long."""
        return self.fewest_tokens + TOKENS_OF_OWN_SYSTEM_TEXT * self.without_system

    @property
    def token_basis(self) -> str:
        """How `estimated_tokens` come about, and by how much the fewest are less, whatever the epochs."""
        basis = f"{CHARACTERS_PER_TOKEN} characters a token"
        if not self.messages:
            return basis
        basis += f", {TOKENS_A_MESSAGE} more a message"
        if not self.without_system:
            return basis
        less = 1 - self.fewest_tokens / self.estimated_tokens
        return f"{basis} and {TOKENS_OF_OWN_SYSTEM_TEXT} a row, which some chat templates add: else {less:.0%} less"


@dataclass
class _Found:
    """What one file has shown so far."""

    path: Path
    format: str = ""
    unit: str = "line"
    rows: int = 0
    characters: int = 0
    messages: int = 0
    without_system: int = 0
    short_rows: int = 0
    short_line: int = 0
    repeats: int = 0
    repeat_lines: list[int] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    sha256: str = ""
    fatal: Faults = field(default_factory=Faults)
    doubts: dict[bool, Faults] = field(default_factory=lambda: {False: Faults(), True: Faults()})  # by the template?

    def note(self, line: int, message: str, fatal: bool = False) -> None:
        """Something about the file, or what its first row shows."""
        (self.fatal if fatal else self.doubts[False]).add(line, message, message)

    @property
    def problems(self) -> list[Problem]:
        """What stops no run."""
        return [
            Problem(self.path, told.line, told.sentence, False, self.unit, by_template)
            for by_template, faults in self.doubts.items()
            for told in faults.told(self.unit)
        ]

    @property
    def problem_count(self) -> int:
        """How many rows were doubted, each once for each doubt."""
        return sum(faults.count for faults in self.doubts.values())


def check(
    path: Path,
    *,
    eval_path: Path | None = None,
    eval_fraction: float = 0.0,
    expected_format: str | None = None,
    train_on: str = "assistant",
    parquet: ReadParquet = read_parquet,
) -> DataReport:
    """Read the training file, and the eval file when there is one, to their ends.

    `expected_format` and `train_on` are the spec's; `parquet` reads the rows of such a file where that takes more than
    this Python. Faults that do not stop a run (rows that repeat, rows in both files, odd turns) come back as
    `problems`. Raises UsageError with a sentence for each kind of fault that does.
    """
    trained = _read(path, expected_format, train_on, parquet)
    if eval_fraction and trained.rows * eval_fraction < 1 and not trained.fatal.count:
        message = f"{trained.rows} rows leave none for an evaluation on {eval_fraction:g} of them"
        trained.note(0, message, fatal=True)
    evaluated = _read(eval_path, expected_format, train_on, parquet) if eval_path else None
    _raise_fatal([trained] if evaluated is None else [trained, evaluated])
    overlap = 0
    if evaluated is not None:
        if evaluated.format != trained.format:
            evaluated.note(0, f"its rows are `{evaluated.format}`, those of {path.name} `{trained.format}`")
        overlap = len(evaluated.seen & trained.seen)
        if overlap:
            evaluated.note(0, f"{_rows(overlap)} of it {_is(overlap)} also in {path.name}: the loss will look too good")
    return DataReport(
        format=trained.format,
        rows=trained.rows,
        characters=trained.characters,
        messages=trained.messages,
        without_system=trained.without_system,
        sha256=trained.sha256,
        duplicates=trained.repeats,
        duplicate_lines=tuple(trained.repeat_lines),
        eval_rows=evaluated.rows if evaluated else 0,
        eval_sha256=evaluated.sha256 if evaluated else "",
        overlap=overlap,
        problems=tuple(trained.problems + (evaluated.problems if evaluated else [])),
        problem_count=trained.problem_count + (evaluated.problem_count if evaluated else 0),
    )


def glance(path: Path, parquet: ReadParquet = read_parquet) -> str:
    """The format that a file's first rows show. Raises UsageError, as `check` does, for what is wrong with them."""
    found = _read(path, None, "all", parquet, GLANCE)
    _raise_fatal([found])
    return found.format


def _read(path: Path, kind: str | None, train_on: str, parquet: ReadParquet, most: int | None = None) -> _Found:
    """What the first `most` rows of a file show, or all of them."""
    found = _Found(path)
    try:
        source = Source(path, kind, train_on, parquet)
        found.unit = source.unit
        for line, row in islice(source, most):
            _take(found, line, row)
    except Unreadable as unreadable:
        raise UsageError(str(Problem(path, unreadable.line, unreadable.message, True)), unreadable.hint) from None
    found.sha256, found.format = source.sha256(), source.kind
    _conclude(found)
    return found


def _take(found: _Found, line: int, row: Row | BadRow) -> None:
    """Add a row, or what is wrong with it, to what was found."""
    if isinstance(row, BadRow):
        found.fatal.add(line, str(row), row.kind)
        return
    found.rows += 1
    for doubt in doubts(row):
        _doubt(found, line, doubt)
    _count(found, line, row)


def _doubt(found: _Found, line: int, doubt: Doubt) -> None:
    found.doubts[doubt.by_template].add(line, doubt.message, doubt.message)


def _count(found: _Found, line: int, row: Row) -> None:
    turns = row.turns
    size = sum(len(content) for _, content in turns)
    found.characters += size
    if row.messages:
        found.messages += len(turns)
        found.without_system += turns[0][0] not in ("system", "developer")
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
    if not found.rows and not found.fatal.count:
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


def _raise_fatal(files: list[_Found]) -> None:
    told = [(each, kind) for each in files for kind in each.fatal.told(each.unit)]
    if not told:
        return
    lines = [str(Problem(each.path, kind.line, kind.sentence, True, each.unit)) for each, kind in told[:SHOWN_PROBLEMS]]
    more = sum(each.fatal.count for each in files) - sum(kind.count for _, kind in told[:SHOWN_PROBLEMS])
    if more:
        lines.append(f"and {more} more")
    hint = "fix or remove these rows" if told[0][1].line else "name another file"
    raise UsageError("\n".join(lines), f"{hint}; nothing was started")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _repeat(count: int) -> str:
    return "repeats" if count == 1 else "repeat"
