"""What makes the world hostile on purpose: clocks that jump, clients that are killed, disks that are full."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign.client import Client
from tests.patience import PATIENCE_S


def move_clock(journal: Path, seconds: float) -> None:
    """The client's clock is moved, and so what is written down by then lies so much further back, or in the future."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    moved = [{**line, "time": line["time"] - seconds} for line in lines]
    journal.write_text("".join(json.dumps(line) + "\n" for line in moved))


def begin(client: Client, words: tuple[str, ...], name: str = "mine") -> subprocess.Popen[bytes]:
    """`up` as a process, in a group of its own so that a terminal's signals can be sent to all of it."""
    with open(client.folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", "up", *client.up_words(), "--name", name, *words],
            cwd=client.folder,
            env=client.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


class Terminal:
    """`up` at a terminal of its own; what it shows goes into output.txt."""

    def __init__(self, client: Client, words: tuple[str, ...]) -> None:
        self.keys, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", "up", *client.up_words(), "--name", "mine", *words],
            cwd=client.folder,
            env=client.environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it only makes a system call
        )
        os.close(slave)
        threading.Thread(target=self._keep, args=(client.folder / "output.txt",), daemon=True).start()

    def _keep(self, path: Path) -> None:
        with open(path, "ab", buffering=0) as output, contextlib.suppress(OSError):
            while shown := os.read(self.keys, 4096):
                output.write(shown)

    def press_ctrl_c(self) -> None:
        """As a person does."""
        os.write(self.keys, b"\x03")


def wait_for(true: Callable[[], object], process: subprocess.Popen[bytes] | None = None) -> None:
    """Until something is so; fails when it does not become so, or the process ends before."""
    give_up = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up, "it never came to that"
        assert process is None or process.poll() is None, f"it ended with {process.returncode}"
        time.sleep(0.01)


def ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit code."""
    return process.wait(PATIENCE_S)


def said(client: Client) -> str:
    """What processes that were begun have said."""
    return (client.folder / "output.txt").read_text()


def processes_of(client: Client) -> Iterator[tuple[int, str]]:
    """(pid, command line) of everything that works on the client's state."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(client.state).encode() in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def kill_all(client: Client) -> None:
    """Client, engine and plugin, at once."""
    for pid, _ in list(processes_of(client)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
