"""A Mac and a Windows machine tell their processor and memory in their own ways."""

from __future__ import annotations

import pytest
from cloudtrain.pricing.local.processor import processor
from cloudtrain.pricing.local.system import System
from cloudtrain.pricing.local.windows import adapters, memory_bytes

from cloudtrain.units import GIB
from tests.pricing.pretended import mac, windows


@pytest.mark.parametrize(
    ("brand", "architecture", "key"),
    [
        ("Apple M3 Max", "arm64", "cpu-arm"),
        ("Apple M1", "x86_64", "cpu-arm"),
        ("Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz", "x86_64", "cpu"),
    ],
)
def test_a_mac_has_a_processor(brand: str, architecture: str, key: str) -> None:
    """A Mac's memory and processor come from sysctl, under translation too."""
    found = processor(mac(brand, 64 * GIB, architecture))
    assert (found.hardware, found.cores, found.ram_bytes) == (key, 12, 64 * GIB)


def test_a_mac_that_does_not_answer_is_still_an_offer() -> None:
    """Without an answer the processor is told by the architecture and memory by the system call."""
    silent = System("darwin", "arm64", 8, 16 * GIB, run=lambda command: "")
    assert processor(silent)[:3] == ("cpu-arm", 8, 16 * GIB)


@pytest.mark.parametrize(
    ("identifier", "architecture", "key"),
    [
        ("Intel64 Family 6 Model 143 Stepping 8, GenuineIntel", "amd64", "cpu-amx"),
        ("Intel64 Family 6 Model 158 Stepping 10, GenuineIntel", "amd64", "cpu"),
        ("AMD64 Family 25 Model 17 Stepping 1, AuthenticAMD", "amd64", "cpu-zen"),
        ("AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD", "amd64", "cpu-zen"),
        ("AMD64 Family 25 Model 33 Stepping 2, AuthenticAMD", "amd64", "cpu"),
        ("AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD", "amd64", "cpu-zen"),
        ("ARMv8 (64-bit) Family 8 Model 1 Revision 201, Qualcomm", "arm64", "cpu-arm"),
        ("", "amd64", "cpu"),
    ],
)
def test_a_windows_processor_is_of_its_class(identifier: str, architecture: str, key: str) -> None:
    """On Windows the class follows from family and model, and is plain x86 where they are unknown."""
    assert processor(windows(identifier, architecture))[:3] == (key, 16, 32 * GIB)


class Registry:
    """The part of winreg that is used, over a dictionary of subkeys."""

    HKEY_LOCAL_MACHINE = "HKLM"

    def __init__(self, keys: dict[str, dict[str, object]]) -> None:
        self.keys = keys

    def OpenKey(self, parent: object, name: str) -> Registry:
        if parent is self and self.keys[name].get("denied"):
            raise PermissionError(name)
        return Registry({name: self.keys[name]}) if parent is self else self

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def QueryInfoKey(self, key: Registry) -> tuple[int, int, int]:
        return len(key.keys), 0, 0

    def EnumKey(self, key: Registry, index: int) -> str:
        return list(key.keys)[index]

    def QueryValueEx(self, key: Registry, name: str) -> tuple[object, int]:
        (values,) = key.keys.values()
        if name not in values:
            raise FileNotFoundError(name)
        return values[name], 1


def test_windows_lists_its_display_adapters() -> None:
    """Names and memory are read from the registry, as a number or as eight bytes; what cannot be read is left out."""
    size = "HardwareInformation.qwMemorySize"
    registry = Registry(
        {
            "0000": {"DriverDesc": "AMD Radeon RX 7900 XTX", size: 24 * GIB},
            "0001": {"DriverDesc": "Intel(R) Arc(TM) B580 Graphics", size: (12 * GIB).to_bytes(8, "little")},
            "0002": {"DriverDesc": "Microsoft Basic Display Adapter"},
            "Properties": {"denied": True},
        }
    )
    assert adapters(registry) == (("AMD Radeon RX 7900 XTX", 24 * GIB), ("Intel(R) Arc(TM) B580 Graphics", 12 * GIB))


def test_windows_memory_is_what_the_system_fills_in() -> None:
    """The status record has the size that the system expects, and its total is the memory."""

    class Kernel:
        @staticmethod
        def GlobalMemoryStatusEx(reference: object) -> int:
            status = reference._obj  # type: ignore[attr-defined]
            assert status.length == 64
            status.total_physical = 48 * GIB
            return 1

    class Libraries:
        kernel32 = Kernel

    assert memory_bytes(Libraries) == 48 * GIB
