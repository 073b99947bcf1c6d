"""A data file as a stream of rows and faults, whatever its format, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .faults import BadRow
from .files import PARQUET, Lines, Unreadable, open_file
from .json_text import Item, ListOfObjects, objects_in_lines
from .parquet import records as parquet_records
from .shapes import Row, Shape
from .tables import paragraphs, table

_TABLES = (".csv", ".tsv", ".tab")
_PLAIN = (".txt", ".md", ".text")
ReadParquet = Callable[[Path], Iterator[dict[str, Any]]]


class Source:
    """An open data file. Iterating gives each row with its place, or why it cannot be trained on; only once.

    `unit` is what the places count, `line` or `row`; `kind` and `sha256` are known at the end. Raises Unreadable, here
    and while it is read, for a file that gives no rows.
    """

    def __init__(
        self, path: Path, kind: str | None, train_on: str = "assistant", parquet: ReadParquet = parquet_records
    ) -> None:
        self._path, self._read_parquet = path, parquet
        self._shape = Shape(kind, train_on)
        self._file = open_file(path)
        self.unit = "row" if self._is(PARQUET) or self._is_list() else "line"
        self._shape.unit = self.unit

    def __iter__(self) -> Iterator[tuple[int, Row | BadRow]]:
        try:
            for place, record in self._records():
                yield place, record if isinstance(record, BadRow) else self._judged(record, place)
        finally:
            self._file.close()

    @property
    def kind(self) -> str:
        """What its rows are: messages, sharegpt, prompt, alpaca, text or paragraphs; "" when no row has shown it."""
        return self._shape.kind

    def sha256(self) -> str:
        """sha256 (hex) of the file as it lies on the disk."""
        return self._file.sha256()

    def _judged(self, record: dict[str, Any], place: int) -> Row | BadRow:
        try:
            return self._shape.row(record, place)
        except BadRow as bad:
            return bad

    def _records(self) -> Iterator[Item]:
        if self._is(PARQUET):
            return self._table_rows()
        if self.unit == "row":
            return iter(ListOfObjects(self._file))
        suffix, lines = self._suffix(), Lines(self._file)
        if self._shape.kind == "paragraphs":
            return paragraphs(lines)
        if suffix in _TABLES:
            return table(lines, tabs=suffix != ".csv")
        if suffix in _PLAIN and self._begin()[:1] not in ("{", ""):
            raise Unreadable("is plain text", "`data.format: paragraphs` trains on its paragraphs, each a row")
        return objects_in_lines(lines)

    def _table_rows(self) -> Iterator[Item]:
        while self._file.read(2**20):
            pass  # for its sha256: pyarrow reads the file by itself, and not from front to end
        yield from enumerate(self._read_parquet(self._path), 1)

    def _is(self, magic: bytes) -> bool:
        return self._file.head(len(magic)) == magic

    def _is_list(self) -> bool:
        """Whether it begins like one JSON list of objects; lines that are lists are JSON lines, and wrong ones."""
        begin = self._begin()
        listed = begin[:1] == "[" and begin[1:].lstrip()[:1] in ("{", "]", "")
        return listed and self._shape.kind != "paragraphs" and self._suffix() not in _TABLES

    def _begin(self) -> str:
        """The first characters from the first that is no space."""
        return self._file.head(4096).decode("utf-8-sig", "replace").lstrip()

    def _suffix(self) -> str:
        """What the file's name ends in, but for `.gz`."""
        suffixes = [suffix.lower() for suffix in self._path.suffixes]
        return next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
