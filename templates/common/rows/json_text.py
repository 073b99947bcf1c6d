"""JSON as records: one object a line, or a list of objects over any number of lines, read as it comes."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from .faults import BadRow
from .files import LONGEST_LINE_BYTES, DataFile, Lines, Unreadable

Item = tuple[int, dict[str, Any] | BadRow]
CHUNK = 2**16
_SPACE = re.compile(r"[ \t\r\n]*")
_NEAR_THE_END = 16  # characters in which a word or an escape may still be incomplete
_NOT_JSON = "is not JSON"


class _Refused(Exception):
    """JSON that Python reads and nobody should write."""


def _constant(name: str) -> float:
    raise _Refused(f"holds {name}, which is not JSON: write null")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"holds the key `{ascii(key[:40])[1:-1]}` twice")
            seen.add(key)
    return found


_strict = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant)
_lenient = json.JSONDecoder(parse_int=str, parse_float=str)  # only to find where an object ends


def objects_in_lines(lines: Lines) -> Iterator[Item]:
    """The objects of JSON lines, by line; blank lines are passed over."""
    for text in lines:
        if text is None:
            assert lines.fault is not None
            yield lines.number, lines.fault
        elif text.strip():
            if lines.number == 1 and text.strip() == "{":
                raise Unreadable(
                    "has its objects over several lines; JSON lines hold one object per line",
                    "`jq -c . OLD > NEW` writes them so",
                    1,
                )
            yield lines.number, json_object(text.rstrip("\r\n"))


def json_object(text: str) -> dict[str, Any] | BadRow:
    """One object, or what is wrong with it."""
    try:
        found = _strict.decode(text)
    except json.JSONDecodeError as broken:
        return BadRow(f"{_problem(broken)} (column {broken.pos + 1}){_layout_hint(text)}", _NOT_JSON)
    except (_Refused, RecursionError, ValueError) as refused:
        return _refusal(refused)
    return found if isinstance(found, dict) else BadRow(f"is not a JSON object{_layout_hint(text)}", "is no object")


def _problem(broken: json.JSONDecodeError) -> str:
    return f"{_NOT_JSON}: {broken.msg[:1].lower()}{broken.msg[1:]}"


def _refusal(refused: Exception) -> BadRow:
    """What is wrong with JSON that only Python would read."""
    if isinstance(refused, _Refused):
        return BadRow(str(refused))
    if isinstance(refused, RecursionError):
        return BadRow("is nested too deeply")
    return BadRow("holds a number with too many digits")


def _layout_hint(text: str) -> str:
    """What to say when the file looks like JSON that is not in lines."""
    stripped = text.strip()
    if stripped in ("{", "}", "[", "]"):
        return "; JSON lines hold one object per line"
    return "; no comma stands between JSON lines" if stripped.endswith("},") else ""


class ListOfObjects:
    """The objects of a file that is one JSON list, by their number, in memory for one object of at most 16 MiB.

    What is no JSON ends the reading: nobody knows where the next object begins.
    """

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at = "", 0
        self._lines = 1  # number of the line in which the text in hand begins
        self._ended = False
        self._row = 0

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._objects()
        except UnicodeDecodeError as broken:
            byte = f"byte 0x{broken.object[broken.start]:02x} after line {self._line()}"
            yield self._row + 1, BadRow(f"is not UTF-8 ({byte})", "is not UTF-8")

    def _objects(self) -> Iterator[Item]:
        self._next_mark()
        self._at += 1  # the bracket that showed the list
        while (mark := self._next_mark()) != "]":
            if not mark:
                yield self._row + 1, BadRow(f"is not JSON: the list is not closed (line {self._line()})", _NOT_JSON)
                return
            self._row += 1
            found = self._element()
            if found is None:
                yield self._row, BadRow("is longer than 16 MiB")
                return
            yield self._row, found
            if isinstance(found, BadRow) and found.kind in (_NOT_JSON, "is nested too deeply"):
                return
            if (after_it := self._next_mark()) == ",":
                self._at += 1
            elif after_it not in ("]", ""):
                after = f"is not followed by a comma or the end of the list (line {self._line()})"
                yield self._row, BadRow(after, _NOT_JSON)
                return
        self._at += 1
        if self._next_mark():
            yield self._row, BadRow(f"is the last of the list, and more text follows (line {self._line()})", _NOT_JSON)

    def _next_mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more(CHUNK)

    def _element(self) -> dict[str, Any] | BadRow | None:
        """The object that begins here; None when it is too long. What is too short is asked for twice as much."""
        decoder, refusal, size = _strict, None, CHUNK
        while True:
            try:
                found, end = decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as broken:
                if self._ended or self._is_final(broken):
                    line = self._lines + self._text.count("\n", 0, min(broken.pos, len(self._text)))
                    return BadRow(f"{_problem(broken)} (line {line})", _NOT_JSON)
                if len(self._text) - self._at > LONGEST_LINE_BYTES:
                    return None
                self._more(size)
                size *= 2
            except RecursionError as refused:
                return _refusal(refused)
            except (_Refused, ValueError) as refused:
                decoder, refusal = _lenient, _refusal(refused)
            else:
                self._at = end
                return refusal or (found if isinstance(found, dict) else BadRow("is not a JSON object", "is no object"))

    def _is_final(self, broken: json.JSONDecodeError) -> bool:
        """Whether more text would change nothing."""
        return not broken.msg.startswith("Unterminated") and len(self._text) - broken.pos > _NEAR_THE_END

    def _more(self, size: int) -> None:
        """Let go of what has been read, and read on."""
        self._lines += self._text.count("\n", 0, self._at)
        content = self._file.read(size)
        self._ended = len(content) < size
        self._text = self._text[self._at :] + self._decoder.decode(content, self._ended)
        self._at = 0

    def _line(self) -> int:
        return self._lines + self._text.count("\n", 0, self._at)
