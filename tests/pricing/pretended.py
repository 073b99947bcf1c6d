"""Machines that the probes of this machine are shown in the tests."""

from __future__ import annotations

from pathlib import Path

from cloudtrain.pricing.local.system import System
from cloudtrain.pricing.local.windows import WindowsFacts

from cloudtrain.units import GIB


def linux(root: Path, files: dict[str, str], architecture: str = "x86_64") -> System:
    """A pretended Linux of 64 cores with these files; without any it is one where nothing can be read."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return System("linux", architecture, 64, 0, root)


def linux_processor(*flags: str) -> dict[str, str]:
    """The files of a processor with these flags among others, and of 64 GiB of memory."""
    return {
        "proc/cpuinfo": f"processor\t: 0\nflags\t\t: fpu sse2 {' '.join(flags)} pni\n\nprocessor\t: 1\n",
        "proc/meminfo": f"MemTotal:       {64 * 2**20} kB\nMemFree:   1 kB\n",
    }


def mac(brand: str, memory_bytes: int, architecture: str = "arm64") -> System:
    """A pretended Mac of 12 cores that answers sysctl so."""
    return System("darwin", architecture, 12, run=lambda command: f"{memory_bytes}\n{brand}\n")


def windows(identifier: str, architecture: str = "amd64") -> System:
    """A pretended Windows of 16 cores and 32 GiB without display adapters."""
    return System("win32", architecture, 16, windows=lambda: WindowsFacts(32 * GIB, identifier))
