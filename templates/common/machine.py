"""The machine under the trainer: its cores, its memory, its accelerator, and the deadline that ends the run on it."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from failures import NoAccelerator

CONTROL_GROUPS = Path("/sys/fs/cgroup")
PRETEND = "CLOUDTRAIN_PRETEND_ACCELERATOR"  # set on the machines of a simulation alone


def played_by(accelerator: str) -> str:
    """What computes: the accelerator itself, or "cpu" where a simulation pretends that there is such an accelerator."""
    return "cpu" if accelerator == os.environ.get(PRETEND) else accelerator


def start_again_with_environment(accelerator: Mapping[str, Any]) -> None:
    """Replace this process by itself with the accelerator's environment variables, when one of them is not set yet.

    glibc and OpenMP read their settings when a process starts, so setting them here would be too late. The allocation
    settings keep large blocks instead of returning them to the kernel after every use: 1.6 times the speed on a CPU
    (1.1 million page faults a step become 15 thousand), for 0.1 to 0.3 GB of memory. Waiting passively lets other
    work on the same cores run: 3 times the speed on 2 cores that are shared, no loss on cores that are not.
    """
    wanted: Mapping[str, str] = accelerator.get("variables", {})
    missing = {name: value for name, value in wanted.items() if name not in os.environ}
    if missing:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **missing})  # noqa: S606


def usable_cores() -> int:
    """Cores this process may use: its affinity, cut to the control group's quota, which PyTorch does not look at."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, cpu_quota())))


def set_threads() -> int:
    """Tell OpenMP the core count when a quota makes it smaller than the machine looks. Returns the threads used.

    Without it as many threads spin as the host has cores: the same 6 steps took 27 s instead of 6 s on 2 busy cores.
    """
    cores = usable_cores()
    if cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    return int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0] or cores)


_device_memory: list[Callable[[], int]] = []


def count_memory_by(peak: Callable[[], int]) -> None:
    """From now on the peak is that of an accelerator's own memory, in bytes, as this function says."""
    _device_memory[:] = [peak]


def peak_bytes() -> int:
    """The highest memory so far, in bytes: of this process, or of the accelerator that it computes with."""
    return (_device_memory[0]() if _device_memory else 0) or _resident_bytes()


def _resident_bytes() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def free_bytes() -> int | None:
    """Memory that this process may still take: what the machine has left, and its control group; None if unknown."""
    found = [int(words[1]) * 1024 for words in _lines(Path("/proc/meminfo")) if words[:1] == ["MemAvailable:"]]
    for folder, limit, used in (
        (_own_group(), "memory.max", "memory.current"),
        (CONTROL_GROUPS, "memory.max", "memory.current"),
        (CONTROL_GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        numbers = _fields(folder / limit) + _fields(folder / used)
        if found and len(numbers) == 2 and all(each.isdigit() for each in numbers):
            found.append(max(0, int(numbers[0]) - int(numbers[1])))
    return min(found, default=None)


def _lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []


def look_for_accelerator(accelerator: Mapping[str, Any]) -> None:
    """Raise NoAccelerator when its device file or platform is absent: known in a millisecond, before any import.

    Also when another process has one of the files open and the accelerator is one process's `alone`.
    """
    named, platform = accelerator.get("device_file") or (), accelerator.get("platform")
    files = [Path(each) for each in ([named] if isinstance(named, str) else named)]
    if (files and not any(file.exists() for file in files)) or (platform and sys.platform != platform):
        raise NoAccelerator(accelerator["absent"])
    if accelerator.get("alone") and (other := holder(files)):
        raise NoAccelerator(f"the accelerator is held by process {other}, and one process at a time can have it")


def holder(files: Sequence[Path], processes: Path = Path("/proc")) -> str:
    """The process that has one of these files, or one below them, open: its number and name; "" for none seen."""
    for entry in processes.glob("[0-9]*"):
        if entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            opened = [Path(os.readlink(each)) for each in (entry / "fd").iterdir()]
            if any(_is_below(path, file) for path in opened for file in files):
                return f"{entry.name} (`{(entry / 'comm').read_text().strip()}`)"
    return ""


def _is_below(path: Path, file: Path) -> bool:
    """Whether it is that file, one of its like (/dev/accel0, /dev/accel3) or, of a folder, one in it (/dev/vfio/0)."""
    alike = path.parent == file.parent and path.name.rstrip("0123456789") == file.name.rstrip("0123456789")
    return alike or file in path.parents


class Host(NamedTuple):
    """Which host of a machine this is; of one host alone, and on a machine of one's own, the values here."""

    number: int = 0
    hosts: int = 1
    coordinator: str = ""  # address and port at which the others find host 0


def this_host(variables: Mapping[str, str] = os.environ) -> Host:
    """By the environment variables with which the machine's agent starts a trainer."""
    return Host(
        int(variables.get("CLOUDTRAIN_HOST") or 0),
        int(variables.get("CLOUDTRAIN_HOSTS") or 1),
        variables.get("CLOUDTRAIN_COORDINATOR", ""),
    )


def guard_deadline(deadline: float, grace_s: float, stop: Callable[[str], None]) -> None:
    """At `deadline` (epoch seconds) ask the run to stop, `grace_s` later end it: it ends even with nobody watching."""

    def watch() -> None:
        _sleep_until(deadline)
        stop("deadline")
        os.kill(os.getpid(), signal.SIGTERM)
        _sleep_until(max(deadline, time.time()) + grace_s)
        os._exit(75)

    threading.Thread(target=watch, name="deadline", daemon=True).start()


def _sleep_until(instant: float) -> None:
    # In short naps, for the clock of a machine that was suspended or set jumps.
    while (left := instant - time.time()) > 0:
        time.sleep(min(left, 5))


def cpu_quota() -> float:
    """Cores that the control group (version 2, else 1) grants; infinite without a limit."""
    old = CONTROL_GROUPS / "cpu"
    return min(
        _ratio(_fields(_own_group() / "cpu.max")),
        _ratio(_fields(CONTROL_GROUPS / "cpu.max")),
        _ratio(_fields(old / "cpu.cfs_quota_us") + _fields(old / "cpu.cfs_period_us")),
    )


def _own_group() -> Path:
    """This process's group; a container usually sees its own as the root."""
    for line in _fields(Path("/proc/self/cgroup")):
        if line.startswith("0::/"):
            return CONTROL_GROUPS / line.removeprefix("0::/")
    return CONTROL_GROUPS


def _fields(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _ratio(fields: list[str]) -> float:
    """Quota over period; "max" and -1 mean no limit."""
    if len(fields) == 2 and fields[0].isdigit() and int(fields[1]) > 0:
        return int(fields[0]) / int(fields[1])
    return math.inf
