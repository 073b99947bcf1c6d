"""A data file as bytes and as lines of text: unpacked where it is gzip, its sha256 taken, all of it bounded."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from . import elsewhere
from .faults import BadRow

LONGEST_LINE_BYTES = 2**24
# A file of text seldom shrinks to a fiftieth; what unpacks to more than this is one row many times, or a trap.
MOST_UNPACKED = 200  # times its size
ALWAYS_UNPACKED_BYTES = 2**28
PARQUET = b"PAR1"
_GZIP = b"\x1f\x8b"
_JSON_LINES = "convert it to JSON lines (one JSON object per line, UTF-8)"
_UTF_16 = "`iconv -f utf-16 -t utf-8 OLD > NEW` converts it"
_MAGIC = {
    b"ARROW1": ("is an Arrow file", f"{_JSON_LINES}, or save it as Parquet"),
    b"PK\x03\x04": ("is a zip archive or a spreadsheet", "unpack it; save a spreadsheet as CSV (UTF-8)"),
    b"\x28\xb5\x2f\xfd": ("is compressed with zstd", "unpack it with `zstd -d`, or compress it with gzip"),
    b"BZh": ("is compressed with bzip2", "unpack it with `bunzip2`, or compress it with gzip"),
    b"\xfd7zXZ": ("is compressed with xz", "unpack it with `unxz`, or compress it with gzip"),
    b"\xff\xfe": ("is UTF-16, not UTF-8", _UTF_16),
    b"\xfe\xff": ("is UTF-16, not UTF-8", _UTF_16),
}


class Unreadable(Exception):
    """A file that gives no rows at all: a message about it, the line where that showed (0: none), and a way out."""

    def __init__(self, message: str, hint: str, line: int = 0) -> None:
        super().__init__(message)
        self.message, self.hint, self.line = message, hint, line


class _Hashed(io.RawIOBase):
    """A file that is hashed as it is read."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # a buffer of any kind
        count = self._file.readinto(buffer)
        self.hash.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class DataFile:
    """The bytes of an open data file, unpacked where it is gzip. Raises Unreadable for what cannot be read."""

    def __init__(self, file: io.FileIO, size: int) -> None:
        self._hashed = _Hashed(file)
        self._size = size
        self._taken = 0
        self._stream: BinaryIO = io.BufferedReader(self._hashed, 2**16)
        self.packed = self.head(len(_GZIP)) == _GZIP
        if self.packed:
            self._stream = gzip.GzipFile(fileobj=self._stream)  # type: ignore[assignment]  # it reads like one

    def head(self, count: int) -> bytes:
        """The first bytes, which stay to be read."""
        try:
            return bytes(self._stream.peek(count)[:count])  # type: ignore[attr-defined]  # both kinds can
        except (EOFError, zlib.error, OSError) as refused:
            raise self._unreadable(refused) from None

    def read(self, count: int) -> bytes:
        """The next bytes; fewer only at the end."""
        try:
            return self._counted(self._stream.read(count))
        except (EOFError, zlib.error, OSError) as refused:
            raise self._unreadable(refused) from None

    def line(self) -> bytes:
        """The next line; more than 16 MiB of it are cut."""
        try:
            return self._counted(self._stream.readline(LONGEST_LINE_BYTES + 1))
        except (EOFError, zlib.error, OSError) as refused:
            raise self._unreadable(refused) from None

    def sha256(self) -> str:
        """sha256 (hex) of the file, packed as it lies there, as far as it has been read."""
        return self._hashed.hash.hexdigest()

    def close(self) -> None:
        """To be called once, at the end."""
        self._stream.close()
        self._hashed.close()

    def _counted(self, content: bytes) -> bytes:
        self._taken += len(content)
        if self._taken > ALWAYS_UNPACKED_BYTES and self._taken > MOST_UNPACKED * self._size:
            raise Unreadable(f"unpacks to more than {MOST_UNPACKED} times its size", "unpack it and look at its rows")
        return content

    def _unreadable(self, refused: Exception) -> Unreadable:
        if self.packed and (isinstance(refused, EOFError | zlib.error | gzip.BadGzipFile)):
            return Unreadable("is compressed with gzip and damaged, or cut short", "`gzip -t` tests it; fetch it again")
        reason = getattr(refused, "strerror", None) or str(refused)
        return Unreadable(f"cannot be read ({reason})", "copy the file elsewhere")


def open_file(path: Path) -> DataFile:
    """Open a data file for one pass. Raises Unreadable when it is missing, no file, or of a kind that nobody reads."""
    try:
        about = os.stat(path)
        if stat.S_ISDIR(about.st_mode):
            raise Unreadable("is not a file but a folder", elsewhere.files_in(path))
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("is not a file", "name one file of JSON lines")
        file = DataFile(io.FileIO(path), about.st_size)
    except FileNotFoundError:
        raise Unreadable(*elsewhere.absent(path)) from None
    except (OSError, ValueError) as refused:
        reason = getattr(refused, "strerror", None) or refused
        raise Unreadable(f"cannot be read ({reason})", "check its name and its permissions") from None
    try:
        _check_kind(file)
    except Unreadable:
        file.close()
        raise
    return file


def _check_kind(file: DataFile) -> None:
    """Raise Unreadable for what begins like something else than text or Parquet; inside of gzip too."""
    begin = file.head(512)
    for magic, (message, hint) in _MAGIC.items():
        if begin.startswith(magic):
            raise Unreadable(message, hint)
    if begin[257:262] == b"ustar":
        raise Unreadable("is a tar archive", "unpack it and name one of its files")
    if file.packed and begin.startswith(_GZIP):
        raise Unreadable("is compressed with gzip twice", "unpack it once with `gunzip`")
    if begin.startswith(PARQUET):
        if file.packed:
            raise Unreadable("is a Parquet file that is compressed once more", "unpack it with `gunzip`")
    elif b"\0" in begin[:64]:
        raise Unreadable("holds zero bytes: it is UTF-16 without its mark, or no text", _UTF_16)


class Lines:
    """The lines of a data file as text, numbered from 1.

    A line that is no text comes as None, after which `fault` says why; a line beyond 16 MiB ends the text.
    """

    def __init__(self, file: DataFile) -> None:
        self._file = file
        self.number = 0
        self.fault: BadRow | None = None

    def __iter__(self) -> Iterator[str | None]:
        while content := self._next():
            self.number += 1
            if len(content) > LONGEST_LINE_BYTES:
                self.fault = BadRow("is longer than 16 MiB; JSON lines hold one JSON object per line")
                yield None
                return
            yield self._text(content)

    def _next(self) -> bytes:
        try:
            return self._file.line()
        except Unreadable as refused:
            raise Unreadable(refused.message, refused.hint, self.number + 1 if self.number else 0) from None

    def _text(self, content: bytes) -> str | None:
        try:
            return content.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as broken:
            byte = f"byte {broken.start + 1} of the line is 0x{content[broken.start]:02x}"
            self.fault = BadRow(f"is not UTF-8 ({byte})", "is not UTF-8")
            return None
