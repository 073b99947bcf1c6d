"""How long a machine may stand: the tightest cap, and why."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cloudtrain.plan import deadline_seconds

CENTURIES_S = 3e10


@pytest.mark.parametrize(
    ("given", "seconds", "why"),
    [
        ((7200.0, None, None, None, 168.0), 10800.0, "1.5 x the quoted worst case"),
        ((60.0, None, None, None, 168.0), 1800.0, "at least 30 min"),
        ((CENTURIES_S, None, None, None, 168.0), 168 * 3600.0, "setting max_hours, 168"),
        ((CENTURIES_S, 300.0, None, None, 168.0), 168 * 3600.0, "setting max_hours, 168"),
        ((CENTURIES_S, 100.0, None, None, 168.0), 100 * 3600.0, "--max-hours 100"),
        ((7200.0, 9.0, None, None, 168.0), 10800.0, "1.5 x the quoted worst case"),
        ((7200.0, None, Decimal(900), Decimal(4), 168.0), 10800.0, "1.5 x the quoted worst case"),
        ((None, 48.0, None, None, 168.0), 86400.0, "the quote has no hours"),
        ((7200.0, 9.0, Decimal(2), Decimal(4), 168.0), 1800.0, "--max-cost 2 at $4.00/h"),
        ((None, None, None, None, 168.0), 86400.0, "the quote has no hours"),
    ],
)
def test_the_tightest_cap_is_the_deadline_and_is_named(given: tuple[float, ...], seconds: float, why: str) -> None:
    """A spot row whose worst case is centuries still ends within the ceiling; what a person asks for only shortens it."""
    found, basis = deadline_seconds(*given)  # type: ignore[arg-type]
    assert found == pytest.approx(seconds)
    assert why in basis
