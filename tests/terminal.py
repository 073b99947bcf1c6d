"""A pseudo-terminal of so many columns in place of stdout and stderr, for what is printed in this process."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def columns(width: int, patch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Print at a terminal meanwhile; the function that is given returns, behind it, what was printed."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    pieces: list[bytes] = []

    def keep() -> None:
        try:
            while piece := os.read(master, 65536):
                pieces.append(piece)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=keep, daemon=True)
    reader.start()
    with patch.context() as inside, open(slave, "w", encoding="utf-8", buffering=1) as stream:
        for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
            inside.setattr(sys, name, stream)
        inside.delenv("COLUMNS", raising=False)
        inside.setenv("TERM", "xterm")
        yield lambda: b"".join(pieces).decode().replace("\r\n", "\n")
    reader.join()
    os.close(master)
