"""What a person reads of amounts: rounded, but never to nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.units import money, speed


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
