"""This machine's processor: its class in the accelerator table, the cores and the memory that a job may use."""

from __future__ import annotations

import re
from typing import NamedTuple

from cloudtrain.units import gib

from . import cgroup
from .system import System

_X86 = ("x86_64", "amd64", "i386", "i686", "x86")
_ARM = ("aarch64", "arm64")
_NOTES = {
    "cpu-amx": "AMX",
    "cpu-zen": "AVX512-BF16 without AMX: counted as the cpu-zen class",
    "cpu": "no AMX and no AVX512-BF16 found",
    "cpu-arm": "Arm",
    "": "a kind of processor that the accelerator table lacks",
}
# Windows names processors by family and model only. Intel: Sapphire, Emerald, Granite Rapids (two dies).
_AMX_MODELS = (143, 173, 174, 207)
_IDENTIFIER = re.compile(r"Family (\d+) Model (\d+) .*(GenuineIntel|AuthenticAMD)")


class Processor(NamedTuple):
    """`cores`, counted as the system schedules them, is at least 1; `ram_bytes` is 0 when it could not be found out."""

    hardware: str
    cores: int
    ram_bytes: int
    note: str
    threads_per_core: int | None = None


def processor(system: System) -> Processor:
    """What a job may use of the processor and the memory of `system`, limits of a container included."""
    if system.platform == "win32":
        facts = system.windows()
        return _described(_windows_class(system, facts.processor), system.cores, facts.memory_bytes)
    if system.platform == "darwin":
        memory, brand = mac_facts(system)
        is_apple = brand.startswith("Apple")
        hardware = "cpu-arm" if is_apple else _class(system.architecture, [])
        found = _described(hardware, system.cores, memory or system.physical_bytes)
        return found._replace(threads_per_core=1 if is_apple else None)
    return _linux(system)


def mac_facts(system: System) -> tuple[int, str]:
    """Memory in bytes (0 when unknown) and the processor's brand of a Mac, such as `Apple M3 Max`."""
    lines = system.run(("/usr/sbin/sysctl", "-n", "hw.memsize", "machdep.cpu.brand_string")).splitlines()
    memory, brand = [*lines, "", ""][:2]
    return int(memory) if memory.isdecimal() else 0, brand.strip()


def _linux(system: System) -> Processor:
    first = system.text("proc/cpuinfo")
    flags = re.search(r"^flags\s*:(.*)$", first, re.MULTILINE)
    hardware = _class(system.architecture, flags[1].split() if flags else [])
    total = re.search(r"^MemTotal:\s*(\d{1,18}) kB", system.text("proc/meminfo"), re.MULTILINE)
    ram_bytes = int(total[1]) * 1024 if total else system.physical_bytes
    core_limit, memory_limit = cgroup.core_limit(system), cgroup.memory_limit_bytes(system)
    limits = []
    if core_limit and core_limit < system.cores:
        limits.append(f"{core_limit} of {system.cores} cores")
    if memory_limit and memory_limit < ram_bytes:
        limits.append(f"{gib(memory_limit)} of {gib(ram_bytes)}")
    found = _described(
        hardware, min(system.cores, core_limit or system.cores), min(ram_bytes, memory_limit or ram_bytes)
    )._replace(threads_per_core=_threads_per_core(first))
    return found._replace(note=f"{found.note}; a control group allows {' and '.join(limits)}") if limits else found


def _threads_per_core(cpuinfo: str) -> int | None:
    """How many threads of a socket share one of its cores; None where the kernel does not say, as on Arm."""
    threads = re.search(r"^siblings\s*:\s*(\d{1,5})$", cpuinfo, re.MULTILINE)
    cores = re.search(r"^cpu cores\s*:\s*(\d{1,5})$", cpuinfo, re.MULTILINE)
    if not threads or not cores or not int(cores[1]):
        return None
    return max(1, int(threads[1]) // int(cores[1]))


def _described(hardware: str, cores: int, ram_bytes: int) -> Processor:
    return Processor(hardware, max(1, cores), ram_bytes, _NOTES[hardware])


def _class(architecture: str, flags: list[str]) -> str:
    if architecture in _ARM:
        return "cpu-arm"
    if architecture not in _X86:
        return ""
    if "amx_bf16" in flags:
        return "cpu-amx"
    return "cpu-zen" if "avx512_bf16" in flags else "cpu"


def _windows_class(system: System, identifier: str) -> str:
    found = _IDENTIFIER.search(identifier)
    if system.architecture in _ARM or not found:
        return _class(system.architecture, [])
    family, model, vendor = int(found[1]), int(found[2]), found[3]
    if vendor == "GenuineIntel":
        return "cpu-amx" if family == 6 and model in _AMX_MODELS else "cpu"
    # AMD family 26 is Zen 5. Family 25 is Zen 3 and Zen 4; the blocks of models below are the Zen 4 ones.
    zen4 = family == 25 and (16 <= model < 32 or 96 <= model < 128 or 160 <= model < 176)
    return "cpu-zen" if family == 26 or zen4 else "cpu"
