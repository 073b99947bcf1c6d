"""Reading a file that a person has named: so many bytes at the most, and never waiting for a writer."""

from __future__ import annotations

import errno
import os
import stat
from typing import TypeVar

P = TypeVar("P", str, os.PathLike[str])


def no_pipe(path: P) -> P:
    """The path. Raises OSError for a pipe: once opened, it waits for somebody who writes into it."""
    if stat.S_ISFIFO(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, not a file", os.fspath(path))
    return path


def read_beginning(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The first `most_bytes` and one more, by which a file that is longer shows. Raises OSError, for a pipe as well."""
    with open(no_pipe(os.fspath(path)), "rb") as file:
        return file.read(most_bytes + 1)
