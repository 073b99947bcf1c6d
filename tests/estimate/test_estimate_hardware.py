"""The accelerator table: names, memory, peaks and back ends."""

from __future__ import annotations

import csv
from typing import get_args

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.estimate import accelerators, hardware
from cloudtrain.units import GIB


def test_every_row_is_complete_and_of_a_known_back_end() -> None:
    """Keys are unique, back ends come from the closed set, and what does not train says why."""
    table = hardware.all_hardware()
    assert len({row.key for row in table}) == len(table) >= 50
    for row in table:
        assert row.backend in get_args(hardware.Backend), row.key
        assert row.devices_per_chip >= 1
        assert row.trains == (not row.why_not), row.key
        assert (row.peak_flops is None) == (not row.peak_unit), row.key
        assert row.memory_bytes is not None or row.backend == "torch-cpu" or row.peak_flops is None, row.key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("mi300x", "mi300x"),
        ("MI300X", "mi300x"),
        ("TPU v6e", "tpu-v6e"),
        ("Instinct MI355X", "mi355x"),
        (" v5litepod ", "tpu-v5e"),
        ("2 vCPU Xeon AMX", "cpu-amx"),
        ("cpu-arm", "cpu-arm"),
        ("M2 Ultra", "apple-m2-ultra"),
        ("Gaudi3", "gaudi3"),
    ],
)
def test_hardware_is_found_by_key_name_and_alias(text: str, key: str) -> None:
    """Case is ignored and a key wins over another row's alias."""
    assert hardware.find(text).key == key


def test_unknown_hardware_is_refused_with_the_nearest() -> None:
    """A typing error is answered with the key that was meant."""
    with pytest.raises(UsageError, match="unknown hardware `mi300z`") as caught:
        hardware.find("mi300z")
    assert "mi300x" in caught.value.hint
    with pytest.raises(UsageError):
        hardware.find("")


def test_figures_are_in_bytes_and_flops() -> None:
    """Units are those of the names; unknown peaks are None and inference chips do not train."""
    chip = hardware.find("mi300x")
    assert (chip.memory_bytes, chip.peak_flops, chip.peak_flops_fp8) == (192 * GIB, 1307.4e12, 2614.9e12)
    assert chip.peak_flops_fp32 == 163.4e12
    assert hardware.find("rx6800xt").peak_flops is None
    for key in ("inferentia2", "qualcomm-ai100", "tpu8i", "v520"):
        assert not hardware.find(key).trains


@pytest.mark.parametrize(("text", "units"), [("2 vCPU Xeon AMX", 2), ("MI300X", 1), ("cpu-amx", 1), ("2 apples", 1)])
def test_an_alias_that_counts_processors_means_that_many_units(text: str, units: int) -> None:
    """`2 vCPU Xeon AMX` is one machine of two units of the peak."""
    assert hardware.units_per_count(text) == units


def test_classes_of_processors_know_their_older_keys() -> None:
    """Each older key is a row, and stands for the class in what was kept, in both directions."""
    classes = [row for row in hardware.all_hardware() if row.formerly]
    assert {row.key for row in classes} >= {"cpu-avx512-fp16", "cpu-avx2", "cpu-arm-sve", "cpu-arm-neon"}
    for row in classes:
        older = hardware.find(row.formerly)
        assert older.key == row.formerly
        assert accelerators.same_class(row.key, older.key)
        assert accelerators.same_class(older.key, row.key)
    assert accelerators.same_class("cpu-zen", "cpu-zen")
    assert not accelerators.same_class("cpu-avx2", "cpu-avx512")
    assert not accelerators.same_class("cpu-zen", "cpu-amx")


def test_a_processors_peak_is_in_its_faster_type() -> None:
    """Of every class; float32 wins where bf16 has no units of its own."""
    types = {row.key: row.computes_in for row in hardware.all_hardware() if row.is_processor}
    assert all(row.peak_flops and row.peak_flops >= (row.peak_flops_fp32 or 0) for row in map(hardware.find, types))
    assert {key for key, name in types.items() if name == "bf16"} == {
        *("cpu-amx", "cpu-zen", "cpu-graviton4", "cpu-arm-sve"),
    }


def test_the_file_has_every_figure_that_is_needed() -> None:
    """The shipped file parses as plain CSV with one header."""
    with open(accelerators._FILE, encoding="utf-8", newline="") as stream:
        assert all(None not in row and row["devices_per_chip"] for row in csv.DictReader(stream))
