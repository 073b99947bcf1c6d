"""The one way in which the probes ask the machine, so that tests can put another machine in its place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .windows import WindowsFacts, windows_facts


def _run(command: tuple[str, ...]) -> str:
    import subprocess  # only macOS needs it; importing it costs more than all the probes together

    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


class System(NamedTuple):
    """A machine: its kind, its files below `root`, and how else it answers. Nothing here raises: "" is unknown."""

    platform: str  # as sys.platform has it: linux, darwin, win32
    architecture: str  # x86_64, aarch64, arm64, amd64 ...
    cores: int  # logical cores that this process may be scheduled on
    physical_bytes: int = 0  # 0 when only the probes can tell
    root: Path = Path("/")
    run: Callable[[tuple[str, ...]], str] = _run
    windows: Callable[[], WindowsFacts] = windows_facts

    def text(self, path: str, limit: int = 16384) -> str:
        """The beginning of a file below `root`, stripped."""
        try:
            with (self.root / path).open(encoding="utf-8", errors="replace") as file:
                return file.read(limit).strip()
        except (OSError, ValueError):
            return ""

    def entries(self, path: str) -> list[str]:
        """The names in a folder below `root`, sorted."""
        try:
            return sorted(os.listdir(self.root / path))
        except OSError:
            return []


def this_system() -> System:
    """The machine that this process runs on."""
    architecture = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return System(sys.platform, architecture.lower(), cores, _physical_bytes())


def _physical_bytes() -> int:
    try:
        return max(0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return 0
