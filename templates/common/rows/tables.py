"""Text that is no JSON as records: CSV and TSV with a header, and plain text by its paragraphs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain

from .faults import BadRow
from .files import LONGEST_LINE_BYTES, Lines
from .json_text import Item
from .keys import shape_of

_SEPARATORS = ",;\t|"


def table(lines: Lines, tabs: bool) -> Iterator[Item]:
    """By the names in the header. The separator is the one that gives names we know. A line without text ends it."""
    csv.field_size_limit(LONGEST_LINE_BYTES)
    header: list[str] | None = None
    try:
        for cells in _rows(lines, tabs):
            if lines.fault:
                break
            if header is None:
                header = _header(cells)
                if len(set(header)) < len(header):
                    yield lines.number, BadRow("names a column twice in its header")
                    return
            elif cells:
                yield lines.number, _named(header, cells)
    except csv.Error as broken:
        yield max(lines.number, 1), BadRow(f"is not CSV: {broken}", "is not CSV")
    if lines.fault:
        yield lines.number, lines.fault


def _rows(lines: Lines, tabs: bool) -> Iterator[list[str]]:
    """The cells of each row, the header's first."""
    texts = _texts(lines)
    first = next(texts, "")
    if first.lower().startswith("sep=") and len(first.strip("\r\n")) == len("sep=?"):  # Excel's own first line
        return csv.reader(texts, strict=True, delimiter=first[len("sep=")])
    return csv.reader(chain((first,), texts), strict=True, delimiter=_separator(first, tabs))


def _separator(first: str, tabs: bool) -> str:
    """What separates the columns: by the header's names, else by their number, else what the file's name says."""
    preferred = "\t" + _SEPARATORS if tabs else _SEPARATORS
    split = {separator: _cells(first, separator) for separator in preferred}
    known = (separator for separator in preferred if shape_of(dict.fromkeys(_header(split[separator]), "")))
    return next(known, max(preferred, key=lambda separator: len(split[separator])))


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _header(cells: list[str]) -> list[str]:
    """The names of the columns; in small letters where only those are known. Empty columns at the end are none."""
    names = [name.strip() for name in cells]
    while len(names) > 1 and not names[-1]:
        names.pop()
    small = [name.lower() for name in names]
    return small if shape_of(dict.fromkeys(small, "")) and not shape_of(dict.fromkeys(names, "")) else names


def _named(header: list[str], cells: list[str]) -> dict[str, str] | BadRow:
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    if len(cells) != len(header):
        return BadRow(f"has {len(cells)} columns, the header has {len(header)}")
    return dict(zip(header, cells, strict=True))


def _texts(lines: Lines) -> Iterator[str]:
    for text in lines:
        if text is None:
            return
        yield text


def paragraphs(lines: Lines) -> Iterator[Item]:
    """Plain text: a row is what stands between blank lines, numbered by its first line."""
    begun, parts, size = 0, [], 0
    for text in lines:
        if text is None:
            assert lines.fault is not None
            yield lines.number, lines.fault
            return
        if text.strip():
            begun, size = begun or lines.number, size + len(text)
            parts.append(text)
            if size > LONGEST_LINE_BYTES:
                yield begun, BadRow("is a paragraph of more than 16 MiB")
                return
        elif parts:
            yield begun, {"text": "".join(parts).strip("\r\n")}
            begun, parts, size = 0, [], 0
    if parts:
        yield begun, {"text": "".join(parts).strip("\r\n")}
