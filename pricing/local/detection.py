"""Accelerators of this machine: AMD, Intel and Apple, on Linux, macOS and Windows; NVIDIA ones are not looked for."""

from __future__ import annotations

import re
from collections import Counter

from cloudtrain.units import GIB

from .amd import Device, amd_devices
from .processor import mac_facts
from .system import System

# PCI device id: key, name and the sizes in GiB in which the card was sold.
_INTEL = {
    "0x56a0": ("arc-a770", "Arc A770", (8, 16)),
    "0xe20b": ("arc-b580", "Arc B580", (12,)),
    "0x0bd5": ("max1550", "Max 1550", (128,)),
}
_APPLE = frozenset(
    f"apple-{chip}"
    for chip in (
        *("m1", "m1-pro", "m1-max", "m1-ultra", "m2", "m2-pro", "m2-max", "m2-ultra"),
        *("m3", "m3-pro", "m3-max", "m3-ultra", "m4", "m4-pro", "m4-max", "m5", "m5-pro", "m5-max"),
    )
)
# What Windows calls a card contains one of these: a name that another one goes on from comes after that.
_RADEON = (
    *("RX 9070 XT", "RX 9070 GRE", "RX 9070", "RX 9060 XT", "RX 9060", "RX 7900 XTX", "RX 7900 XT", "RX 7900 GRE"),
    *("RX 7800 XT", "RX 7700 XT", "RX 7700", "RX 6950 XT", "RX 6900 XT", "RX 6800 XT", "RX 6800"),
    *("W7900", "W7800", "W7700", "W6800", "R9700", "R9600D"),
)
_WINDOWS = {
    **{name: name.replace(" ", "").lower() for name in _RADEON},
    "Pro V520": "v520",
    "A770": "arc-a770",
    "B580": "arc-b580",
}
_WINDOWS_MAKERS = ("AMD", "Radeon", "Arc(TM)")
_UNLISTED = "not in the accelerator table"
_LEAST_BYTES = 4 * GIB  # below it is a processor's graphics part


def accelerators(system: System) -> Counter[Device]:
    """The accelerators of `system` and how many of each; empty when it has none."""
    if system.platform == "darwin":
        return _apple(system)
    if system.platform == "win32":
        return _windows(system)
    return amd_devices(system) + _intel(system)


def _apple(system: System) -> Counter[Device]:
    memory_bytes, brand = mac_facts(system)
    if not brand.startswith("Apple"):
        return Counter()
    key = brand.lower().replace(" ", "-")
    known = key in _APPLE
    note = "unified memory, shared with everything else that runs"
    return Counter([Device(key if known else "", brand, memory_bytes, note if known else f"{note}; {_UNLISTED}")])


def _intel(system: System) -> Counter[Device]:
    found: Counter[Device] = Counter()
    for card in system.entries("sys/class/drm"):
        folder = f"sys/class/drm/{card}/device"
        if not card.removeprefix("card").isdecimal() or system.text(f"{folder}/vendor") != "0x8086":
            continue
        kind = _INTEL.get(system.text(f"{folder}/device").lower())
        if kind:
            key, name, sizes_gib = kind
            window_bytes = _largest_window_bytes(system.text(f"{folder}/resource"))
            fitting = [size for size in sizes_gib if size * GIB <= window_bytes]
            note = "" if fitting or len(sizes_gib) == 1 else "the smaller size of two: the card does not tell which"
            found[Device(key, name, (fitting[-1] if fitting else sizes_gib[0]) * GIB, note)] += 1
    return found


def _largest_window_bytes(resource: str) -> int:
    """The largest memory window of a PCI device, from lines of `start end flags`; it shows the card's memory."""
    sizes = [0]
    for line in resource.splitlines():
        try:
            start, end = (int(cell, 16) for cell in line.split()[:2])
        except ValueError:
            continue
        sizes.append(end - start + 1)
    return max(sizes)


def _windows(system: System) -> Counter[Device]:
    found: Counter[Device] = Counter()
    for title, memory_bytes in system.windows().adapters:
        if memory_bytes < _LEAST_BYTES or not any(maker in title for maker in _WINDOWS_MAKERS):
            continue
        key = next((key for part, key in _WINDOWS.items() if re.search(rf"{part}(?!\w)", title)), "")  # no RX 6800M
        found[Device(key, title, memory_bytes, "" if key else _UNLISTED)] += 1
    return found
