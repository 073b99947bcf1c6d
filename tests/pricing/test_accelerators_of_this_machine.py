"""AMD, Intel and Apple accelerators of this machine, by the files and answers that real ones give."""

from __future__ import annotations

from pathlib import Path

import pytest
from cloudtrain.pricing.local import detection as module
from cloudtrain.pricing.local import machine_offers
from cloudtrain.pricing.local.amd import _KINDS
from cloudtrain.pricing.local.detection import accelerators
from cloudtrain.pricing.local.system import System
from cloudtrain.pricing.local.windows import WindowsFacts

from cloudtrain.estimate.accelerators import all_hardware
from cloudtrain.providers import Context
from cloudtrain.units import GIB
from tests.pricing.pretended import mac
from tests.pricing.price_tables import SNAPSHOTS

NODES = "sys/class/kfd/kfd/topology/nodes"
CONTEXT = Context(SNAPSHOTS)


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def amd_node(root: Path, number: int, version: int, device: int, gib: float, simds: int) -> None:
    """One graphics node as the compute driver writes it, with system memory beside its own."""
    folder = f"{NODES}/{number}"
    put(
        root,
        f"{folder}/properties",
        f"cpu_cores_count 0\nsimd_count {simds}\nmem_banks_count 2\ngfx_target_version {version}\nvendor_id 4098\n"
        f"device_id {device}\nlocation_id 768\nlocal_mem_size 0\n",
    )
    put(root, f"{folder}/mem_banks/0/properties", f"heap_type 1\nsize_in_bytes {int(gib * GIB)}\nflags 0\nwidth 8192\n")
    put(root, f"{folder}/mem_banks/1/properties", f"heap_type 0\nsize_in_bytes {900 * GIB}\n")


def host_node(root: Path) -> None:
    put(root, f"{NODES}/0/properties", "cpu_cores_count 64\nsimd_count 0\ngfx_target_version 0\nvendor_id 0\n")
    put(root, f"{NODES}/0/mem_banks/0/properties", f"heap_type 0\nsize_in_bytes {512 * GIB}\n")


def intel_card(root: Path, number: int, device: str, window_gib: int, vendor: str = "0x8086") -> None:
    folder = f"sys/class/drm/card{number}/device"
    put(root, f"{folder}/vendor", f"{vendor}\n")
    put(root, f"{folder}/device", f"{device}\n")
    start = 0x3800_0000_0000
    window = f"0x{start:016x} 0x{start + window_gib * GIB - 1:016x} 0x000000000014220c\n"
    put(root, f"{folder}/resource", f"0x00000000fb000000 0x00000000fbffffff 0x0000000000140204\nbroken\n{window}")


def linux(root: Path) -> System:
    return System("linux", "x86_64", 64, 512 * GIB, root)


def found(system: System) -> list[tuple[str, int, int]]:
    return [(device.hardware, count, device.memory_bytes // GIB) for device, count in accelerators(system).items()]


@pytest.mark.parametrize(
    ("nodes", "node", "expected"),
    [
        (8, (90402, 0x74A1, 191.98, 1216), ("mi300x", 8, 191)),
        (1, (90402, 0x74A5, 255.98, 1216), ("mi325x", 1, 255)),
        (1, (90402, 0x74A2, 191.98, 320), ("", 1, 191)),
        (2, (90500, 0x75A3, 288, 1024), ("mi355x", 2, 288)),
        (2, (90500, 0x75A0, 288, 1024), ("mi350x", 2, 288)),
        (3, (90010, 0x740F, 63.98, 416), ("mi210", 3, 63)),
        (4, (90010, 0x740C, 63.98, 416), ("mi250", 2, 127)),
        (8, (90010, 0x7408, 63.98, 440), ("mi250x", 4, 127)),
        (2, (110000, 0x744C, 23.98, 192), ("rx7900xtx", 2, 23)),
        (1, (110000, 0x744C, 19.98, 168), ("rx7900xt", 1, 19)),
        (1, (110000, 0x744C, 15.98, 160), ("rx7900gre", 1, 15)),
        (1, (110000, 0x744C, 15.98, 144), ("", 1, 15)),
        (1, (110000, 0x7448, 47.98, 192), ("w7900", 1, 47)),
        (1, (110001, 0x747E, 15.98, 120), ("rx7800xt", 1, 15)),
        (1, (110001, 0x747E, 11.98, 108), ("rx7700xt", 1, 11)),
        (1, (110002, 0x7480, 7.98, 64), ("rx7600", 1, 7)),
        (1, (110002, 0x7480, 15.98, 64), ("", 1, 15)),
        (2, (120001, 0x7550, 15.92, 128), ("rx9070xt", 2, 15)),
        (1, (120001, 0x7550, 15.92, 112), ("rx9070", 1, 15)),
        (1, (120001, 0x7550, 11.92, 96), ("rx9070gre", 1, 11)),
        (2, (120001, 0x7551, 31.86, 128), ("r9700", 2, 31)),
        (1, (120000, 0x7590, 15.92, 64), ("rx9060xt", 1, 15)),
        (1, (120000, 0x7590, 7.92, 56), ("rx9060", 1, 7)),
        (1, (90006, 0x66A1, 31.98, 240), ("mi50", 1, 31)),
        (1, (90008, 0x738C, 31.98, 480), ("mi100", 1, 31)),
        (1, (100300, 0x73BF, 15.98, 160), ("rx6900xt", 1, 15)),
        (1, (100300, 0x73BF, 15.98, 144), ("rx6800xt", 1, 15)),
        (1, (100300, 0x73BF, 15.98, 120), ("rx6800", 1, 15)),
        (1, (100300, 0x73BF, 15.98, 140), ("", 1, 15)),
        (4, (100101, 0x7362, 8, 72), ("v520", 4, 8)),
        (1, (110501, 0x1586, 96, 80), ("", 1, 96)),
    ],
)
def test_amd_chips_are_told_apart(
    tmp_path: Path, nodes: int, node: tuple[int, int, float, int], expected: tuple[str, int, int]
) -> None:
    """A chip is named by target, memory, device and units, and by nothing where the table has no such chip."""
    host_node(tmp_path)
    for number in range(1, nodes + 1):
        amd_node(tmp_path, number, *node)
    assert found(linux(tmp_path)) == [expected]


def test_a_single_die_of_a_double_chip_is_no_chip(tmp_path: Path) -> None:
    """Three dies of MI250 are one chip and a half that is not called one."""
    for number in (1, 2, 3):
        amd_node(tmp_path, number, 90010, 0x740C, 64, 416)
    assert found(linux(tmp_path)) == [("mi250", 1, 128), ("", 1, 64)]


def test_a_graphics_part_of_a_processor_is_left_out(tmp_path: Path) -> None:
    """A carve-out of less than 4 GiB is no accelerator, and a node that may not be read is none."""
    amd_node(tmp_path, 1, 90012, 0x1638, 0.5, 32)
    put(tmp_path, f"{NODES}/2/properties", "")
    put(tmp_path, f"{NODES}/x/properties", "gfx_target_version ninety\nvendor_id\n")
    assert found(linux(tmp_path)) == []


def test_other_makers_nodes_are_left_out(tmp_path: Path) -> None:
    """Only AMD's nodes count."""
    amd_node(tmp_path, 1, 90402, 0x74A1, 192, 1216)
    text = (tmp_path / NODES / "1/properties").read_text(encoding="utf-8")
    put(tmp_path, f"{NODES}/1/properties", text.replace("vendor_id 4098", "vendor_id 4318"))
    assert found(linux(tmp_path)) == []


@pytest.mark.parametrize(
    ("device", "window_gib", "expected"),
    [
        ("0x56a0", 16, ("arc-a770", 1, 16)),
        ("0x56a0", 8, ("arc-a770", 1, 8)),
        ("0x56a0", 0, ("arc-a770", 1, 8)),
        ("0xe20b", 16, ("arc-b580", 1, 12)),
        ("0x0bd5", 128, ("max1550", 1, 128)),
    ],
)
def test_intel_cards_are_told_apart(
    tmp_path: Path, device: str, window_gib: int, expected: tuple[str, int, int]
) -> None:
    """A discrete Intel card is named by its device, and its memory is the size that it shows, or the smaller one."""
    intel_card(tmp_path, 0, device, window_gib)
    assert found(linux(tmp_path)) == [expected]


def test_cards_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    """Integrated Intel graphics, other makers' cards and connectors are no accelerators."""
    intel_card(tmp_path, 0, "0x9a49", 16)
    intel_card(tmp_path, 1, "0x56a0", 16, vendor="0x10de")
    put(tmp_path, "sys/class/drm/card1-HDMI-A-1/device/vendor", "0x8086\n")
    put(tmp_path, "sys/class/drm/renderD128/device/vendor", "0x8086\n")
    assert found(linux(tmp_path)) == []


@pytest.mark.parametrize(
    ("brand", "expected"),
    [
        ("Apple M3 Ultra", [("apple-m3-ultra", 1, 512)]),
        ("Apple M1", [("apple-m1", 1, 512)]),
        ("Apple M2", [("apple-m2", 1, 512)]),
        ("Apple M9 Giga", [("", 1, 512)]),
        ("Intel(R) Core(TM) i9", []),
        ("", []),
    ],
)
def test_apple_chips_have_unified_memory(brand: str, expected: list[tuple[str, int, int]]) -> None:
    """An Apple chip is one accelerator with the whole memory; what the table lacks has no key."""
    assert found(System("darwin", "arm64", 24, run=lambda command: f"{512 * GIB}\n{brand}\n")) == expected


def test_windows_cards_are_found_by_name() -> None:
    """On Windows an AMD or Arc card is named by its driver; small and other makers' adapters are left out."""
    cards = (
        ("AMD Radeon RX 7900 XTX", 24 * GIB),
        ("AMD Radeon RX 7900 XTX", 24 * GIB),
        ("Intel(R) Arc(TM) A770 Graphics", 16 * GIB),
        ("AMD Radeon RX 9070 XT", 16 * GIB),
        ("AMD Radeon RX 9060", 8 * GIB),
        ("AMD Radeon RX 6800M", 12 * GIB),
        ("AMD Radeon RX 5700 XT", 8 * GIB),
        ("AMD Radeon(TM) Graphics", GIB // 2),
        ("NVIDIA GeForce RTX 4090", 24 * GIB),
    )
    machine = System("win32", "amd64", 16, windows=lambda: WindowsFacts(64 * GIB, "", cards))
    assert found(machine) == [
        *(("rx7900xtx", 2, 24), ("arc-a770", 1, 16), ("rx9070xt", 1, 16)),
        *(("rx9060", 1, 8), ("", 1, 12), ("", 1, 8)),
    ]


def test_every_kind_of_accelerator_is_an_offer_of_its_own(tmp_path: Path) -> None:
    """The processor comes first, then one offer per kind, each with a name of its own and the host's cores."""
    host_node(tmp_path)
    amd_node(tmp_path, 1, 90402, 0x74A1, 192, 1216)
    amd_node(tmp_path, 2, 90402, 0x74A1, 192, 1216)
    intel_card(tmp_path, 0, "0xe20b", 16)
    offers = machine_offers(CONTEXT, linux(tmp_path))
    assert [(o.name, o.hardware, o.count, o.memory_bytes // GIB) for o in offers] == [
        ("this machine", "cpu", 64, 512),
        ("this machine: 2 x MI300X", "mi300x", 2, 192),
        ("this machine: 1 x Arc B580", "arc-b580", 1, 12),
    ]
    assert {(o.vcpus, o.host_memory_bytes, o.market) for o in offers} == {(64, 512 * GIB, "owned")}


def test_every_key_is_in_the_accelerator_table(hardware_keys: set[str]) -> None:
    """What is found has a row in the table, and every Apple chip of the table is known here."""
    intel = {key for key, _, _ in module._INTEL.values()}
    assert {kind.hardware for kind in _KINDS} | intel | set(module._WINDOWS.values()) <= hardware_keys
    for key in (key for key in hardware_keys if key.startswith("apple-")):
        brand = "Apple " + key.removeprefix("apple-").replace("-", " ").title()
        (device,) = accelerators(mac(brand, 64 * GIB))
        assert device.hardware == key


def test_every_radeon_of_the_table_is_told_on_linux() -> None:
    """Whatever card of AMD's one may own: but MI300A, whose memory is its host's, and Pro VII, which is as MI50."""
    amd = {row.key for row in all_hardware() if row.vendor == "amd" and row.backend == "rocm"}
    assert amd - {kind.hardware for kind in _KINDS} == {"mi300a", "radeon-pro-vii"}
