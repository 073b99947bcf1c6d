"""From live bytes to what a device must have."""

from __future__ import annotations

import pytest

from cloudtrain.estimate import budget, hardware
from cloudtrain.estimate.options import Options
from cloudtrain.units import GIB


@pytest.mark.parametrize(
    ("options", "gib"),
    [
        (Options(), 10 * 1.06 + 1.4),
        (Options(devices=8), 10 * 1.06 + 1.4 + 1.5),
        (Options(chip="cpu-zen"), 10 * 1.06 + 0.7),
        (Options(estimator="tpu", chip="tpu-v6e"), 11),
        (Options(estimator="tpu"), 11),
        (Options(chip="gaudi2"), 10 * 1.4 + 1.4),
        (Options(estimator="mlx"), 10 * 1.06 + 0.5),
    ],
)
def test_required_adds_the_margin_of_the_back_end(options: Options, gib: float) -> None:
    """Allocator, runtime and collectives come on top of the live bytes; on a TPU what the formula may miss."""
    assert budget.required_bytes(10 * GIB, options) == round(gib * GIB)


def test_what_the_tpu_compiler_has_said_stands() -> None:
    """After --verify nothing is added on a TPU; elsewhere allocator and runtime still are."""
    assert budget.required_bytes(GIB, Options(estimator="tpu", chip="tpu-v6e"), proven=True) == GIB
    assert budget.required_bytes(GIB, Options(), proven=True) == budget.required_bytes(GIB, Options())


@pytest.mark.parametrize(
    ("key", "gib", "usable"),
    [
        ("tpu-v5e", 16, 15.75),
        ("tpu-v6e", 32, 31.25),
        ("tpu-v5p", 95, 95.74),
        ("tpu7x", 192, 94.75),
        ("mi300x", 192, 192),
        ("mi250x", 128, 64),
        ("apple-m3-ultra", 512, 384),
        ("cpu-zen", 24, 23.5),
    ],
)
def test_usable_is_per_device_and_less_than_nominal(key: str, gib: float, usable: float) -> None:
    """TPUs have what their compiler says, Macs three quarters, hosts all but the system; chips split into devices."""
    assert budget.usable_bytes(hardware.find(key), round(gib * GIB)) == pytest.approx(usable * GIB, abs=1)


def test_verdicts_have_a_tight_middle() -> None:
    """Up to 92 % fits, up to all is tight, beyond does not fit; nothing fits into nothing."""
    assert [budget.verdict(need, 100) for need in (92, 93, 100, 101)] == ["fits", "tight", "tight", "no"]
    assert budget.verdict(1, 0) == "no"


def test_every_back_end_of_the_table_has_a_margin() -> None:
    """No row of the accelerator table lacks a margin with its reason."""
    for chip in hardware.all_hardware():
        assert budget.MARGINS[chip.backend].reason
