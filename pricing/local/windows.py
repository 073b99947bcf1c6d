"""What Windows says about memory, processor and display adapters, by its own interfaces instead of files."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, NamedTuple

# The class of display adapters; each numbered subkey is one adapter's driver.
_ADAPTERS = r"SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}"


class WindowsFacts(NamedTuple):
    """`processor` is like `Intel64 Family 6 Model 143 Stepping 8, GenuineIntel`; adapters are (name, bytes)."""

    memory_bytes: int = 0
    processor: str = ""
    adapters: tuple[tuple[str, int], ...] = ()


def windows_facts() -> WindowsFacts:
    """The facts of this machine; empty ones on any other system."""
    if sys.platform != "win32":
        return WindowsFacts()
    import ctypes

    processor = os.environ.get("PROCESSOR_IDENTIFIER", "")
    return WindowsFacts(memory_bytes(ctypes.windll), processor, adapters(import_module("winreg")))


def memory_bytes(libraries: Any) -> int:
    """Physical memory by GlobalMemoryStatusEx, 0 when it does not answer; `libraries` is ctypes.windll."""
    import ctypes

    class Status(ctypes.Structure):
        """MEMORYSTATUSEX of the Windows headers: its first three fields, and room for the six after them."""

        _fields_ = (
            ("length", ctypes.c_uint32),
            ("load", ctypes.c_uint32),
            ("total_physical", ctypes.c_uint64),
            ("others", ctypes.c_uint64 * 6),
        )

    status = Status()
    status.length = ctypes.sizeof(Status)
    answered = libraries.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.total_physical) if answered else 0


def adapters(registry: Any) -> tuple[tuple[str, int], ...]:
    """Every display adapter with its name and its own memory in bytes; `registry` is the module winreg.

    `HardwareInformation.qwMemorySize` is the only place that tells more than 4 GiB correctly.
    """
    found = []
    try:
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, _ADAPTERS) as folder:
            for index in range(registry.QueryInfoKey(folder)[0]):
                found.append(_adapter(registry, folder, registry.EnumKey(folder, index)))
    except OSError:
        pass
    return tuple(adapter for adapter in found if adapter)


def _adapter(registry: Any, folder: Any, name: str) -> tuple[str, int] | None:
    try:
        with registry.OpenKey(folder, name) as key:
            title = str(registry.QueryValueEx(key, "DriverDesc")[0])
            size = registry.QueryValueEx(key, "HardwareInformation.qwMemorySize")[0]
    except OSError:  # a subkey that may not be read (`Properties`), or an adapter without memory of its own
        return None
    return title, int.from_bytes(size, "little") if isinstance(size, bytes) else int(size)
