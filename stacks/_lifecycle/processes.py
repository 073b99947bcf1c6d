"""Processes of this machine that carry a run's tag: find them, stop them, prove that they have ended.

The tags are `CLOUDTRAIN_RUN=<name>` and `CLOUDTRAIN_RUN_STATE=<id of its state>` in a process's environment, inherited
by whatever it starts, so that nothing is missed that changed its group or lost its parent. What an older version
started has the first one alone. Those of simulated machines are passed over. Where there is no /proc (macOS) `ps -E`
shows the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

TAG, STATE_TAG = "CLOUDTRAIN_RUN", "CLOUDTRAIN_RUN_STATE"
SIMULATED = (
    "CLOUDTRAIN_SIMULATOR_MACHINE"  # a simulated machine's processes run here too, and are none of this machine's runs
)
PROC = Path("/proc")


class Process(NamedTuple):
    """A tagged process. `start` distinguishes it from a later one with the same number."""

    pid: int
    run: str
    start: str
    command: str
    state: str = ""  # the id of its run's state; "" when an older version started it


def tagged(run: str | None = None, states: Sequence[str] | None = None) -> list[Process]:
    """Every process of this user that carries the tag of `run`, or any run's, without the one that asks.

    With `states` of runs of these states alone.
    """
    found = _from_proc() if (PROC / "self").exists() else _from_ps()
    mine = (p for p in found if p.pid != os.getpid() and run in (None, p.run))
    return [p for p in mine if states is None or p.state in states]


def _from_proc() -> Iterator[Process]:
    needle, second, third = (f"{name}=".encode() for name in (TAG, STATE_TAG, SIMULATED))
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            run = next((item for item in environment if item.startswith(needle)), None)
            if run is None or any(item.startswith(third) for item in environment):
                continue
            state, start = _stat(entry)
            if state == "Z":  # ended; only its parent has not taken note yet
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            whose = next((item[len(second) :] for item in environment if item.startswith(second)), b"")
            name = run[len(needle) :].decode(errors="replace")
            yield Process(int(entry.name), name, start, command, whose.decode(errors="replace"))
        except OSError:  # ended while we looked, or another user's
            continue


def _stat(entry: Path) -> tuple[str, str]:
    """State letter and start time (field 22, clock ticks since boot) of a process."""
    fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[0], fields[19]


def _from_ps() -> Iterator[Process]:
    import subprocess  # a quote reads this module, and needs no process

    listing = subprocess.run(
        ["ps", "-axww", "-E", "-o", "pid=,lstart=,command="], capture_output=True, text=True, check=False
    ).stdout
    for line in listing.splitlines():
        marker = f"{TAG}="
        if marker in line and f"{SIMULATED}=" not in line:
            pid, _, rest = line.strip().partition(" ")
            run = line.partition(marker)[2].split(" ")[0]
            state = line.partition(f"{STATE_TAG}=")[2].split(" ")[0]
            yield Process(int(pid), run, rest.strip()[:24], rest.strip()[24:].strip(), state)


def has_lost_folder(process: Process) -> bool:
    """Whether the folder in which the process works has been removed. Not known where there is no /proc."""
    return _folder(process).endswith(" (deleted)")


def has_lost_record(process: Process) -> bool:
    """Whether that folder is its run's, and there is no record of a run in it. Not known where there is no /proc."""
    folder = Path(_folder(process))
    folder = folder.parent if folder.name == "machine" else folder
    return folder.name == process.run and folder.is_dir() and not (folder / "intent.json").exists()


def _folder(process: Process) -> str:
    try:
        return os.readlink(PROC / str(process.pid) / "cwd")
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """What distinguishes this process from a later one with its number; "" when it is gone."""
    try:
        return _stat(PROC / str(pid))[1]
    except OSError:
        return next((p.start for p in _from_ps() if p.pid == pid), "") if not PROC.exists() else ""


def is_alive(pid: int, start: str) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    if (PROC / "self").exists():
        try:
            state, now = _stat(PROC / str(pid))
        except OSError:
            return False
        return state != "Z" and now == start
    return any(p.pid == pid and p.start == start for p in _from_ps())


def end(run: str, states: Sequence[str] | None, grace_s: float) -> list[Process]:
    """Ask every process of the run to end, wait up to `grace_s`, then kill. Returns those that are still there."""
    asked: set[int] = set()
    give_up = time.monotonic() + grace_s
    while (left := tagged(run, states)) and time.monotonic() < give_up:
        for process in left:
            if process.pid not in asked and "--guard" not in process.command:
                asked.add(process.pid)
                _signal(process.pid, signal.SIGTERM)
        if all("--guard" in process.command for process in left):
            break  # only the clock is left, and there is nothing for it to end
        time.sleep(0.1)
    for _ in range(50):
        left = tagged(run, states)
        if not left:
            return []
        for process in left:
            _signal(process.pid, signal.SIGKILL)
        time.sleep(0.1)
    return tagged(run, states)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
