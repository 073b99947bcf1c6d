"""AMD accelerators of a Linux machine, as the kernel's compute driver (KFD) lists them in sysfs."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from cloudtrain.units import GIB

from .system import System

_NODES = "sys/class/kfd/kfd/topology/nodes"
_VENDOR = 0x1002
_HEAPS_ON_THE_CARD = (1, 2)  # frame buffer, with and without access by the processor; 0 is system memory
_LEAST_BYTES = 4 * GIB  # smaller is a processor's graphics part with its carve-out: no place for a model


class Device(NamedTuple):
    """One accelerator: `hardware` is its key in the accelerator table, or "" when the table has no such chip."""

    hardware: str
    name: str
    memory_bytes: int
    note: str = ""


class _Kind(NamedTuple):
    """How one chip shows itself. No `devices` and no `simds` mean any; `nodes` is how many a whole chip shows."""

    hardware: str
    name: str
    target: str
    gib: int
    devices: tuple[int, ...] = ()
    simds: int = 0
    nodes: int = 1


# Device ids are those of the PCI id list (0x75a3 from memory); memory is that of ROCm's table. Where several cards
# share an id, the number of SIMD units (4 per compute unit on Instinct, 2 on Radeon) or the memory tells them apart:
# a Radeon's compute units are from memory, and where units and memory say enough no id is asked for.
# An Instinct in a partition mode shows fewer units and less memory than the whole chip, so it matches nothing here.
_KINDS = (
    _Kind("mi300x", "MI300X", "gfx942", 192, simds=1216),
    _Kind("mi325x", "MI325X", "gfx942", 256, simds=1216),
    _Kind("mi355x", "MI355X", "gfx950", 288, devices=(0x75A3,), simds=1024),
    _Kind("mi350x", "MI350X", "gfx950", 288, simds=1024),  # the slower of the two when the id is another
    _Kind("mi210", "MI210", "gfx90a", 64, devices=(0x740F,)),
    _Kind("mi250x", "MI250X", "gfx90a", 64, devices=(0x7408, 0x740C), simds=440, nodes=2),
    _Kind("mi250", "MI250", "gfx90a", 64, devices=(0x740C,), simds=416, nodes=2),
    _Kind("mi100", "MI100", "gfx908", 32, devices=(0x738C,)),
    _Kind("mi60", "MI60", "gfx906", 32, simds=256),
    _Kind("mi50", "MI50", "gfx906", 16, devices=(0x66A1,), simds=240),  # Radeon Pro VII has the same id and speed
    _Kind("mi50", "MI50", "gfx906", 32, devices=(0x66A1,), simds=240),
    _Kind("rx9070xt", "RX 9070 XT", "gfx1201", 16, devices=(0x7550,), simds=128),
    _Kind("rx9070", "RX 9070", "gfx1201", 16, devices=(0x7550,), simds=112),
    _Kind("rx9070gre", "RX 9070 GRE", "gfx1201", 12, devices=(0x7550,), simds=96),
    _Kind("r9700", "Radeon AI PRO R9700", "gfx1201", 32, devices=(0x7551,), simds=128),
    _Kind("r9600d", "Radeon AI PRO R9600D", "gfx1201", 32, simds=96),
    _Kind("rx9060xt", "RX 9060 XT", "gfx1200", 16, devices=(0x7590,), simds=64),
    _Kind("rx9060xt", "RX 9060 XT", "gfx1200", 8, devices=(0x7590,), simds=64),
    _Kind("rx9060", "RX 9060", "gfx1200", 8, devices=(0x7590,), simds=56),
    _Kind("rx7900xtx", "RX 7900 XTX", "gfx1100", 24, devices=(0x744C,)),
    _Kind("rx7900xt", "RX 7900 XT", "gfx1100", 20, devices=(0x744C,), simds=168),
    _Kind("rx7900gre", "RX 7900 GRE", "gfx1100", 16, devices=(0x744C,), simds=160),
    _Kind("w7900", "Radeon PRO W7900", "gfx1100", 48, simds=192),
    _Kind("w7800", "Radeon PRO W7800", "gfx1100", 32, simds=140),
    _Kind("w7800", "Radeon PRO W7800", "gfx1100", 48, simds=140),
    _Kind("rx7800xt", "RX 7800 XT", "gfx1101", 16, devices=(0x747E,), simds=120),
    _Kind("rx7700xt", "RX 7700 XT", "gfx1101", 12, devices=(0x747E,), simds=108),
    _Kind("rx7700", "RX 7700", "gfx1101", 16, devices=(0x747E,), simds=80),
    _Kind("w7700", "Radeon PRO W7700", "gfx1101", 16, devices=(0x7470,)),
    _Kind("v710", "Radeon PRO V710", "gfx1101", 28, simds=108),
    _Kind("rx7600", "RX 7600", "gfx1102", 8, devices=(0x7480,), simds=64),
    _Kind("rx6950xt", "RX 6950 XT", "gfx1030", 16, devices=(0x73A5,), simds=160),
    _Kind("rx6900xt", "RX 6900 XT", "gfx1030", 16, devices=(0x73AF, 0x73BF), simds=160),
    _Kind("rx6800xt", "RX 6800 XT", "gfx1030", 16, devices=(0x73BF,), simds=144),
    _Kind("rx6800", "RX 6800", "gfx1030", 16, devices=(0x73BF,), simds=120),
    _Kind("w6800", "Radeon PRO W6800", "gfx1030", 32, simds=120),
    _Kind("v620", "Radeon PRO V620", "gfx1030", 32, simds=144),
    _Kind("v520", "Radeon Pro V520", "gfx1011", 8, devices=(0x7360, 0x7362)),
)


def amd_devices(system: System) -> Counter[Device]:
    """Every AMD accelerator of `system` with at least 4 GiB of its own, and how many of each."""
    nodes = Counter(
        node
        for name in sorted(system.entries(_NODES), key=lambda name: (len(name), name))
        if (node := _node(system, f"{_NODES}/{name}"))
    )
    found: Counter[Device] = Counter()
    for (target, memory_bytes, device, simds), count in nodes.items():
        kind = _kind(target, memory_bytes, device, simds)
        whole, rest = divmod(count, kind.nodes) if kind else (0, count)
        if kind and whole:
            found[Device(kind.hardware, kind.name, memory_bytes * kind.nodes)] += whole
        if rest:
            note = "half of a chip" if kind else "not in the accelerator table"
            found[Device("", f"AMD {target} 0x{device:04x}", memory_bytes, note)] += rest
    return found


def _node(system: System, folder: str) -> tuple[str, int, int, int] | None:
    facts = _properties(system, f"{folder}/properties")
    version = facts.get("gfx_target_version", 0)
    if facts.get("vendor_id", _VENDOR) != _VENDOR or version <= 0:  # a processor's node has no target
        return None
    banks = [
        _properties(system, f"{folder}/mem_banks/{bank}/properties") for bank in system.entries(f"{folder}/mem_banks")
    ]
    memory_bytes = sum(bank.get("size_in_bytes", 0) for bank in banks if bank.get("heap_type") in _HEAPS_ON_THE_CARD)
    if memory_bytes < _LEAST_BYTES:
        return None
    # 90402 is gfx942 and 90010 is gfx90a: two decimal digits each for minor and stepping, printed in hexadecimal.
    target = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return target, memory_bytes, facts.get("device_id", 0), facts.get("simd_count", 0)


def _kind(target: str, memory_bytes: int, device: int, simds: int) -> _Kind | None:
    for kind in _KINDS:
        if (
            kind.target == target
            and abs(memory_bytes / GIB - kind.gib) < kind.gib / 20  # the driver keeps a little for itself
            and (not kind.devices or device in kind.devices)
            and (not kind.simds or simds == kind.simds)
        ):
            return kind
    return None


def _properties(system: System, path: str) -> dict[str, int]:
    pairs = (line.split() for line in system.text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal() and len(pair[1]) < 20}
