"""This machine's processor: its class in the accelerator table, the cores and the memory that a job may use."""

from __future__ import annotations

import re
from typing import NamedTuple

from cloudtrain.units import gib

from . import cgroup
from .system import System

_X86 = ("x86_64", "amd64", "i386", "i686", "x86")
_ARM = ("aarch64", "arm64")
# A class of the accelerator table and the instructions that make it one, in the order in which they are looked for.
# Of two makers' processors with AVX512-BF16 one has AVX512-FP16 too, and is faster in float32 than in bf16.
_X86_CLASSES = (
    ("cpu-amx", ("amx_bf16",)),
    ("cpu-avx512-fp16", ("avx512_bf16", "avx512_fp16")),
    ("cpu-zen", ("avx512_bf16",)),
    ("cpu-avx512", ("avx512f",)),
    ("cpu-avx2", ("avx2",)),
)
_ARM_CLASSES = (("cpu-arm-sve", ("sve",)), ("cpu-arm-neon", ("asimd",)))
_NOTES = {
    "cpu-amx": "AMX",
    "cpu-avx512-fp16": "AVX512-BF16 and AVX512-FP16 without AMX: float32 is likely to be the faster type",
    "cpu-zen": "AVX512-BF16 without AMX",
    "cpu-avx512": "AVX512 without BF16",
    "cpu-avx2": "AVX2 without AVX512",
    "cpu": "no AMX and no AVX512-BF16 found",
    "cpu-arm-sve": "Arm with SVE",
    "cpu-arm-neon": "Arm without SVE",
    "cpu-arm": "Arm",
    "": "a kind of processor that the accelerator table lacks",
}
# Windows names processors by family and model only. Intel: Sapphire, Emerald, Granite Rapids (two dies).
_AMX_MODELS = (143, 173, 174, 207)
_IDENTIFIER = re.compile(r"Family (\d+) Model (\d+) .*(GenuineIntel|AuthenticAMD)")


class Processor(NamedTuple):
    """`cores` are logical ones, at least 1; `ram_bytes` is 0 and `threads_per_core` None where it was not found out."""

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
        hardware = "cpu-arm" if brand.startswith("Apple") else _class(system.architecture, [])
        found = _described(hardware, system.cores, memory or system.physical_bytes)
        return found._replace(threads_per_core=1) if brand.startswith("Apple") else found
    return _linux(system)


def mac_facts(system: System) -> tuple[int, str]:
    """Memory in bytes (0 when unknown) and the processor's brand of a Mac, such as `Apple M3 Max`."""
    lines = system.run(("/usr/sbin/sysctl", "-n", "hw.memsize", "machdep.cpu.brand_string")).splitlines()
    memory, brand = [*lines, "", ""][:2]
    return int(memory) if memory.isdecimal() else 0, brand.strip()


def _linux(system: System) -> Processor:
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", system.text("proc/cpuinfo"), re.MULTILINE)
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
    )
    found = found._replace(threads_per_core=threads_per_core(system))
    return found._replace(note=f"{found.note}; a control group allows {' and '.join(limits)}") if limits else found


def threads_per_core(system: System) -> int | None:
    """How many logical processors share the first core, from a list such as `0-1` or `0,64`; None where none is told.

    A virtual machine may be told less than is so.
    """
    listed = system.text("sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    count = 0
    for part in listed.split(","):
        first, dash, last = part.partition("-")
        ends = first, last if dash else first
        if not all(end.isdecimal() and len(end) < 8 for end in ends):
            return _threads_of_a_socket(system)
        count += max(0, int(ends[1]) - int(first)) + 1
    return count


def _threads_of_a_socket(system: System) -> int | None:
    """The same from what `/proc/cpuinfo` says of a socket; None where it says nothing, as on Arm."""
    told = system.text("proc/cpuinfo")
    threads = re.search(r"^siblings\s*:\s*(\d{1,5})$", told, re.MULTILINE)
    cores = re.search(r"^cpu cores\s*:\s*(\d{1,5})$", told, re.MULTILINE)
    return max(1, int(threads[1]) // int(cores[1])) if threads and cores and int(cores[1]) else None


def _described(hardware: str, cores: int, ram_bytes: int) -> Processor:
    return Processor(hardware, max(1, cores), ram_bytes, _NOTES[hardware])


def _class(architecture: str, flags: list[str]) -> str:
    """The class of the accelerator table by instructions alone; "" for a kind of processor that it lacks."""
    classes: tuple[tuple[str, tuple[str, ...]], ...]
    if architecture in _ARM:
        classes, other = _ARM_CLASSES, "cpu-arm"
    elif architecture in _X86:
        classes, other = _X86_CLASSES, "cpu"
    else:
        return ""
    has = set(flags)
    return next((key for key, needed in classes if has.issuperset(needed)), other)


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
