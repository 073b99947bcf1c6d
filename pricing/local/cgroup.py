"""What a container or a service manager lets this process use: limits of Linux control groups, version 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator

from .system import System

_ROOT = "sys/fs/cgroup"
_NO_LIMIT_BYTES = 2**60  # version 1 writes "no limit" as a number just below 2**63


def core_limit(system: System) -> int | None:
    """Whole cores allowed by the tightest quota (rounded down, at least 1), or None when there is none."""
    quotas = [quota for folder in _folders(system, "cpu") if (quota := _quota(system, folder)) is not None]
    return max(1, int(min(quotas))) if quotas else None


def memory_limit_bytes(system: System) -> int | None:
    """The tightest memory limit in bytes, or None when there is none."""
    limits = [
        limit
        for folder in _folders(system, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(system.text(f"{folder}/{name}"))) is not None and 0 < limit < _NO_LIMIT_BYTES
    ]
    return min(limits) if limits else None


def _quota(system: System, folder: str) -> float | None:
    cell, _, period_cell = system.text(f"{folder}/cpu.max").partition(" ")
    if not cell:
        cell = system.text(f"{folder}/cpu.cfs_quota_us")
        period_cell = system.text(f"{folder}/cpu.cfs_period_us")
    quota, period = _number(cell), _number(period_cell)
    return quota / period if quota and period and quota > 0 and period > 0 else None


def _folders(system: System, controller: str) -> Iterator[str]:
    """Folders whose files bind this process: its own group and all above it, as a limit holds for what is below.

    In a container the group's own path is often not visible; then the root of the mount is the container's group.
    """
    yield from (_ROOT, f"{_ROOT}/{controller}", f"{_ROOT}/cpu,cpuacct")
    for line in system.text("proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = f"{_ROOT}/{controllers}" if controllers else _ROOT
        parts = [part for part in path.split("/") if part]
        if ".." not in parts:
            yield from (f"{mount}/{'/'.join(parts[:depth])}" for depth in range(1, len(parts) + 1))


def _number(cell: str) -> int | None:
    try:
        return int(cell)
    except ValueError:  # "max", or nothing
        return None
