"""The owners of a run's Pulumi stack: the engine that holds its lock, orphaned plugins; and ending them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import TeardownIncomplete

from .._lifecycle import processes
from .engine import PROJECT, stack_name

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

OWNER_PATIENCE_S = 20.0


class Lock(NamedTuple):
    """Who holds a stack: a process on some host, since when."""

    pid: int
    user: str
    host: str
    since: str

    @property
    def here(self) -> bool:
        """Whether its process would be on this machine."""
        return self.host == socket.gethostname()

    @property
    def description(self) -> str:
        """For a person."""
        return f"{self.user} on {self.host} (process {self.pid}) since {self.since}"


def lock_folder(run: str) -> str:
    """The state key below which the engine keeps the locks of a run's stack."""
    return f"runs/{run}/pulumi/.pulumi/locks/organization/{PROJECT}/{stack_name(run)}"


def locks(store: Store, run: str) -> list[Lock]:
    """Everybody who holds the stack."""
    folder = lock_folder(run)
    found = []
    for name in store.children(folder):
        try:
            document = json.loads(store.read(f"{folder}/{name}") or b"{}")
            found.append(Lock(int(document["pid"]), document["username"], document["hostname"], document["timestamp"]))
        except (ValueError, KeyError, TypeError):
            found.append(Lock(0, "?", "?", "?"))
    return found


def end_owner(store: Store, run: str, force: bool = False) -> None:
    """End the holder of the Pulumi stack's lock, gently first. Raises TeardownIncomplete for one on another machine."""
    refuse_elsewhere(store, run, force)
    for lock in locks(store, run):
        if not lock.here and lock.host != "?":
            if not force:
                raise TeardownIncomplete(
                    f"run `{run}` is being changed by {lock.user} on {lock.host} since {lock.since}",
                    f"end it there, or `cloudtrain down --force {run}` when that machine is dead",
                )
            continue
        end_process(lock.pid, "pulumi")


def refuse_elsewhere(store: Store, run: str, force: bool) -> None:
    """Raises TeardownIncomplete while a client of another machine is at work on the run.

    The engine's lock distinguishes machines by their host name only, and two can have the same.
    """
    client = store.holder(f"runs/{run}/client.lock")
    if client is not None and not client.here and not force:
        raise TeardownIncomplete(
            f"run `{run}` is being changed by {client.description}",
            f"end it there, or `cloudtrain down --force {run}` when that machine is dead",
        )


def unlock(store: Store, run: str, force: bool) -> tuple[list[str], list[str]]:
    """Remove locks whose owner is dead, or with `force` on another machine. Returns words for removed and kept ones."""
    removed, kept = [], []
    folder = lock_folder(run)
    for name, lock in zip(store.children(folder), locks(store, run), strict=True):
        alive = lock.here and bool(processes.start_of(lock.pid)) and "pulumi" in _command_line(lock.pid)
        if alive or (not lock.here and lock.host != "?" and not force):
            kept.append(lock.description)
        else:
            store.delete(f"{folder}/{name}")
            removed.append(lock.description)
    return removed, kept


def end_orphans(folder: Path) -> None:
    """End every plugin that has left a pid file in `folder` and still lives on this machine."""
    for path in sorted(folder.glob("*")) if folder.exists() else ():
        try:
            document = json.loads(path.read_text())
            pid, start = int(document["pid"]), str(document["start"])
        except (ValueError, KeyError, TypeError, OSError):
            continue
        if processes.is_alive(pid, start):
            _kill(pid, signal.SIGKILL)
        path.unlink(missing_ok=True)


def end_process(pid: int, name: str) -> None:
    """SIGINT, SIGTERM, SIGKILL to a process whose command line holds `name`, each with time to obey."""
    start = processes.start_of(pid) if pid > 0 else ""
    if not start or name not in _command_line(pid):
        return
    for number, patience_s in ((signal.SIGINT, OWNER_PATIENCE_S), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        _kill(pid, number)
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            if not processes.is_alive(pid, start):
                return
            time.sleep(0.02)


def _command_line(pid: int) -> str:
    proc = processes.PROC / str(pid) / "cmdline"
    if proc.exists():
        return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    listing = ["ps", "-o", "command=", "-p", str(pid)]
    return subprocess.run(listing, capture_output=True, text=True, check=False).stdout


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
