"""This machine as an offer: its processor, its price, and that it is one whatever can be read of it."""

from __future__ import annotations

import socket
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from cloudtrain.pricing.local import machine_offers
from cloudtrain.pricing.local import system as system_module
from cloudtrain.pricing.local.power import _table, of_chips
from cloudtrain.pricing.local.processor import processor
from cloudtrain.pricing.local.system import System, this_system
from cloudtrain.pricing.local.windows import WindowsFacts
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.estimate.accelerators import all_hardware
from cloudtrain.offer import Probe, Products
from cloudtrain.providers import Context, PriceSource, load
from cloudtrain.units import GIB
from tests.pricing.pretended import linux, linux_processor, mac
from tests.pricing.price_tables import SNAPSHOTS

CONTEXT = Context(SNAPSHOTS)


@pytest.mark.parametrize(
    ("flags", "architecture", "key"),
    [
        (("amx_bf16", "amx_tile", "avx512_bf16"), "x86_64", "cpu-amx"),
        (("avx2", "avx512f", "avx512_bf16", "avx512_fp16"), "x86_64", "cpu-avx512-fp16"),
        (("avx2", "avx512f", "avx512_bf16"), "x86_64", "cpu-zen"),
        (("avx2", "avx512f"), "x86_64", "cpu-avx512"),
        (("avx2",), "x86_64", "cpu-avx2"),
        (("sse4_2",), "x86_64", "cpu"),
        (("asimd", "bf16", "sve"), "aarch64", "cpu-arm-sve"),
        (("asimd",), "aarch64", "cpu-arm-neon"),
        (("fp",), "aarch64", "cpu-arm"),
        ((), "riscv64", ""),
    ],
)
def test_a_linux_processor_is_of_its_class(tmp_path: Path, flags: tuple[str, ...], architecture: str, key: str) -> None:
    """Classes are told apart by the instructions that the kernel lists, never by the maker."""
    files = linux_processor(*flags)
    if architecture == "aarch64":
        files["proc/cpuinfo"] = files["proc/cpuinfo"].replace("flags\t", "Features")
    found = processor(linux(tmp_path, files, architecture))
    assert (found.hardware, found.cores, found.ram_bytes) == (key, 64, 64 * GIB)
    assert found.note


@pytest.mark.parametrize(
    ("siblings", "threads"), [("0", 1), ("0-1", 2), ("0,64", 2), ("0-3", 4), ("", None), ("0-", None), ("all", None)]
)
def test_threads_of_a_core_are_read(tmp_path: Path, siblings: str, threads: int | None) -> None:
    """As the kernel lists them, and unknown where it does not; the offer carries it."""
    path = "sys/devices/system/cpu/cpu0/topology/thread_siblings_list"
    machine = linux(tmp_path, {**linux_processor("avx2"), path: siblings})
    assert processor(machine).threads_per_core == threads
    assert machine_offers(CONTEXT, machine)[0].threads_per_core == threads


def test_a_bare_machine_is_still_an_offer(tmp_path: Path) -> None:
    """Where no file can be read there is one core at least, and memory as the system call says."""
    found = processor(System("linux", "x86_64", 0, 3 * GIB, tmp_path))
    assert (found.hardware, found.cores, found.ram_bytes) == ("cpu", 1, 3 * GIB)


@given(text=st.text(max_size=200))
def test_malformed_files_never_crash(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever stands in the files of proc and sys, there is an offer."""
    paths = (
        "proc/cpuinfo",
        "proc/meminfo",
        "proc/self/cgroup",
        "sys/fs/cgroup/cpu.max",
        "sys/fs/cgroup/memory.max",
        "sys/class/kfd/kfd/topology/nodes/1/properties",
        "sys/class/kfd/kfd/topology/nodes/1/mem_banks/0/properties",
        "sys/class/drm/card0/device/vendor",
    )
    machine = linux(tmp_path_factory.mktemp("root"), dict.fromkeys(paths, text))
    offers = machine_offers(CONTEXT, machine)
    assert offers[0].count >= 1
    assert offers[0].memory_bytes >= 0


def test_power_is_the_price() -> None:
    """Watts times the price of electricity, as both are set; then nothing is said of it."""
    priced = machine_offers(Context(SNAPSHOTS, Decimal("0.30"), Decimal(500)), mac("Apple M3 Max", 64 * GIB))
    assert {offer.usd_per_hour for offer in priced} == {Decimal("0.15")}
    assert all("electricity" not in offer.note for offer in priced)
    assert {(offer.price.origin, offer.price.is_assumed) for offer in priced} == {("settings", False)}


@pytest.mark.parametrize(
    ("kwh", "watts", "usd", "missing"),
    [
        (None, None, ("0.024", "0.029"), "set watts and usd_per_kwh"),
        ("0.30", None, ("0.036", "0.0435"), "set watts"),
        (None, "500", ("0.1", "0.1"), "set usd_per_kwh"),
        (None, "0", ("0", "0"), ""),
        ("0", None, ("0", "0"), ""),
    ],
)
def test_what_is_not_said_of_power_is_assumed(
    kwh: str | None, watts: str | None, usd: tuple[str, str], missing: str
) -> None:
    """Watts and price each by itself: 12 cores at 10 W and the whole Mac's 145 W, $0.20; 0 is as good as said."""
    said = Context(SNAPSHOTS, None if kwh is None else Decimal(kwh), None if watts is None else Decimal(watts))
    offers = machine_offers(said, mac("Apple M4 Max", 64 * GIB))
    assert [offer.usd_per_hour for offer in offers] == [Decimal(each) for each in usd]
    for offer in offers:
        assert offer.price.is_assumed == bool(missing)
        assert (offer.price.origin, offer.price.confidence) == (
            ("assumed", "ASSUMED") if missing else ("settings", "SETTINGS")
        )
        assert offer.note.endswith(missing)
        assert ("assumed" in offer.note) == bool(missing)


@pytest.mark.parametrize(
    ("siblings", "usd", "unit"),
    [("0,32", "0.064", "10 W a core"), ("0", "0.128", "10 W a core"), ("", "0.128", "a vCPU")],
)
def test_threads_of_a_core_draw_as_one(tmp_path: Path, siblings: str, usd: str, unit: str) -> None:
    """64 threads are 32 cores where two share one; where the kernel does not say, each of them counts."""
    files = linux_processor("avx512_bf16")
    files["sys/devices/system/cpu/cpu0/topology/thread_siblings_list"] = siblings
    first, *_ = machine_offers(CONTEXT, linux(tmp_path, files))
    assert first.usd_per_hour == Decimal(usd)
    assert unit in first.price.source


def test_every_chip_of_the_table_has_its_watts() -> None:
    """What can be owned has a maker's figure, but for those of which none is known; no figure is of an unknown chip."""
    known = {row.key: row for row in all_hardware()}
    assert set(_table()) <= set(known)
    assert all(row["covers"] in ("board", "module", "machine") and row["source"] for row in _table().values())
    assert all(0 < int(row["watts"]) <= 2000 for row in _table().values())
    owned = {key for key, row in known.items() if row.vendor not in ("google", "aws") and row.backend != "torch-cpu"}
    assert owned - set(_table()) == {"rx7700", "apple-m3", "apple-m3-pro", "apple-m3-max"} | {
        *("apple-m1-pro", "apple-m5", "apple-m5-pro", "apple-m5-max")
    }
    assert of_chips("rx7700", 2).watts == 600
    assert of_chips("apple-m5", 1).watts == 65
    assert "nobody says" in of_chips("rx7700", 1).made_of


def test_the_real_machine_is_an_offer_without_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is offered, owned, with no host name in it, and needs no home folder."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    first, *others = load("pricing", "local", PriceSource).offers(CONTEXT)
    assert (first.name, first.region, first.market) == ("this machine", "", "owned")
    assert first.usd_per_hour
    assert first.memory_bytes > 2**28
    assert all(offer.name.startswith("this machine: ") for offer in others)
    assert socket.gethostname() not in repr(first.name)


def test_the_real_system_is_described() -> None:
    """What the interpreter knows about this system is complete, and a command that is missing is silence."""
    real = this_system()
    assert real.platform == sys.platform
    assert real.architecture == real.architecture.lower() != ""
    assert real.cores >= 1
    assert real.run(("/nowhere/no-such-command",)) == ""
    assert system_module.windows_facts() == WindowsFacts() or sys.platform == "win32"


@pytest.mark.parametrize(
    ("hardware", "cores", "known"), [("cpu-zen", 64, True), ("cpu-zen", 32, False), ("cpu-amx", 64, False)]
)
def test_a_probe_is_of_the_processor_that_is_here(tmp_path: Path, hardware: str, cores: int, known: bool) -> None:
    """One of before a limit of cores, or of another processor under the same name, is not believed."""
    products = Products(1e12, 2e12, 1.0, 0.0)
    machine = linux(tmp_path, linux_processor("avx512_bf16"), "x86_64")
    first, *_ = machine_offers(Context(SNAPSHOTS, probe=Probe(hardware, cores, products)), machine)
    assert first.products == (products if known else None)


def test_a_model_folder_is_here_already() -> None:
    """What lies on this machine is not downloaded to it."""
    assert load("pricing", "local", PriceSource).terms.sees_client_files
