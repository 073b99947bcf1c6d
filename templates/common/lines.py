"""A data file as a stream of (line, record or message): bytes, UTF-8, then JSON lines or CSV, in constant memory.

Standard library only and no other module of ours: the client reads with this very file too.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_LINE_BYTES = 2**24
_MAGIC = {
    b"PAR1": "is a Parquet file",
    b"ARROW1": "is an Arrow file",
    b"\x1f\x8b": "is compressed with gzip",
    b"PK\x03\x04": "is a zip archive or a spreadsheet",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd",
    b"\xff\xfe": "is UTF-16, not UTF-8",
    b"\xfe\xff": "is UTF-16, not UTF-8",
}
_CONVERT = "convert it to JSON lines (one JSON object per line, UTF-8)"

Item = tuple[int, dict[str, Any] | str]


class Unreadable(Exception):
    """A file that gives no lines at all: a message about it, the line where that showed (0: none), and a way out."""

    def __init__(self, message: str, hint: str, line: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.line = message, hint, line


class Lines:
    """The lines of an open file as text, numbered from 1, while the sha256 of every byte is taken.

    A line that is no text comes as None, after which `fault` says why; a line beyond 16 MiB ends the text. Raises
    Unreadable when the disk refuses to be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.number = 0
        self.fault = ""

    def __iter__(self) -> Iterator[str | None]:
        with self._file:
            while content := self._next():
                self.number += 1
                self._hash.update(content)
                if len(content) > LONGEST_LINE_BYTES:
                    self.fault = "is longer than 16 MiB; JSON lines hold one JSON object per line"
                    yield None
                    return
                yield self._text(content)

    def sha256(self) -> str:
        """sha256 (hex) of the bytes read so far."""
        return self._hash.hexdigest()

    def _next(self) -> bytes:
        try:
            return self._file.readline(LONGEST_LINE_BYTES + 1)
        except OSError as refused:
            message = f"cannot be read ({refused.strerror})"
            raise Unreadable(message, "copy the file elsewhere", self.number + 1) from None

    def _text(self, content: bytes) -> str | None:
        try:
            return content.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as broken:
            self.fault = f"is not UTF-8 (byte {broken.start + 1} of the line is 0x{content[broken.start]:02x})"
            return None


def open_lines(path: Path) -> Lines:
    """Open a data file for one pass. Raises Unreadable when it is missing, no file, or of another kind."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise Unreadable("is not a file", "name one file of JSON lines")
        file = open(path, "rb")  # noqa: SIM115 - Lines closes it
    except FileNotFoundError:
        remote = "://" in str(path) or ":/" in str(path)
        hint = "download it first and name the local file" if remote else "paths in a spec count from its own folder"
        raise Unreadable("does not exist", hint) from None
    except (OSError, ValueError) as refused:
        reason = getattr(refused, "strerror", None) or refused
        raise Unreadable(f"cannot be read ({reason})", "check its name and its permissions") from None
    begin = file.read(8)
    file.seek(0)
    for magic, message in _MAGIC.items():
        if begin.startswith(magic):
            file.close()
            raise Unreadable(message, _CONVERT)
    return Lines(file)


def records(path: Path, lines: Lines) -> Iterator[Item]:
    """Line number with the record that ends there, or with a message when there is none: CSV by its name, else JSON.

    A CSV file has a header. Blank lines are passed over.
    """
    return _csv_records(lines) if path.suffix.lower() == ".csv" else _json_records(lines)


def _json_records(lines: Lines) -> Iterator[Item]:
    for text in lines:
        if text is None:
            yield lines.number, lines.fault
        elif text.strip():
            yield lines.number, _json_object(text.rstrip("\r\n"))


class _JsonError(Exception):
    """JSON that Python reads and nobody should write."""


def _constant(name: str) -> float:
    raise _JsonError(f"holds {name}, which is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _JsonError(f"holds the key `{ascii(key[:40])[1:-1]}` twice")
            seen.add(key)
    return found


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant).decode


def _json_object(text: str) -> dict[str, Any] | str:
    try:
        found = _decode(text)
    except _JsonError as refused:
        return str(refused)
    except json.JSONDecodeError as broken:
        problem = broken.msg[:1].lower() + broken.msg[1:]
        return f"is not JSON: {problem} (column {broken.pos + 1}){_layout_hint(text)}"
    except RecursionError:
        return "is nested too deeply"
    except ValueError:
        return "holds a number with too many digits"
    if isinstance(found, dict):
        return found
    return f"is not a JSON object{_layout_hint(text)}"


def _layout_hint(text: str) -> str:
    """What to say when the file looks like JSON that is not in lines."""
    if text.strip() in ("{", "[") or text.lstrip().startswith("[{"):
        return "; JSON lines hold one object per line, without a list around them"
    return ""


def _csv_records(lines: Lines) -> Iterator[Item]:
    """By the names in the header. A line without text ends the reading."""
    csv.field_size_limit(LONGEST_LINE_BYTES)
    reader = csv.reader(_texts(lines), strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as broken:
            yield max(lines.number, 1), f"is not CSV: {broken}"
            return
        if lines.fault:
            yield lines.number, lines.fault
            return
        if cells is None:
            return
        if header is None:
            header = [name.strip() for name in cells]
            if len(set(header)) < len(header):
                yield lines.number, "names a column twice in its header"
                return
        elif cells:
            yield lines.number, _named(header, cells)


def _texts(lines: Lines) -> Iterator[str]:
    for text in lines:
        if text is None:
            return
        yield text


def _named(header: list[str], cells: list[str]) -> dict[str, Any] | str:
    if len(cells) != len(header):
        return f"has {len(cells)} columns, the header has {len(header)}"
    return dict(zip(header, cells, strict=True))
