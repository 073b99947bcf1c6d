"""What a person reads of amounts: rounded, but never to nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.units import GIB, MIB, billions, gib, hours, money, speed


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0"),
        ("0.000001", "<$0.0001"),
        ("0.00012", "$0.0001"),
        ("0.5357090410958904109589041096", "$0.54"),
        ("4", "$4.00"),
        ("12345.6", "$12,346"),
    ],
)
def test_no_amount_above_zero_reads_as_zero(amount: str, shown: str) -> None:
    """Cents, four places below one, and a bound below these."""
    assert money(Decimal(amount)) == shown


@pytest.mark.parametrize(("rate", "shown"), [(0, "0"), (0.0123, "0.012"), (5.14, "5.1"), (1466.7, "1,467")])
def test_no_speed_above_zero_reads_as_zero(rate: float, shown: str) -> None:
    """Two digits at the least."""
    assert speed(rate) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0.00 GiB"), (3, "3 bytes"), (2 * MIB, "2.0 MiB"), (GIB // 2, "0.50 GiB"), (9 * GIB, "9.0 GiB")],
)
def test_no_memory_above_zero_reads_as_zero(size: int, shown: str) -> None:
    """GiB, and smaller units where two places of it would be none."""
    assert gib(size) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(12, "12"), (412_000, "0.4 M"), (999_000, "1 M"), (999_885_952, "1.0 B"), (1_543_714_304, "1.5 B")],
)
def test_parameters_never_read_as_zero_or_thousand(count: int, shown: str) -> None:
    """Millions up to where they would round to 1000 of them."""
    assert billions(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (0.2, "under 1 s"), (44.6, "45 s"), (720, "12 min")])
def test_no_time_above_zero_reads_as_zero(seconds: float, shown: str) -> None:
    """Seconds below a minute and a half."""
    assert hours(seconds) == shown
