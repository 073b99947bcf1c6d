"""Nights of the file's own ticks, dropped, doubled, late and killed, on two clouds; a month on all four is the soak's."""

from __future__ import annotations

from datetime import date

import pytest

from tests.campaign import nights

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize(
    ("cloud", "seed", "first"),
    [("runpod", 1, date(2025, 10, 4)), ("gce", 6, date(2025, 10, 24))],  # Lord Howe's clocks go forward, Berlin's back
)
def test_nights_under_bad_conditions_end_as_they_should(cloud: str, seed: int, first: date) -> None:
    """See `tests/campaign/nights.py` for what is held."""
    verdict = nights.trial(cloud, seed, 5, first)
    assert verdict.wrong == [], "\n".join(verdict.story)
    assert verdict.facts["killed"] > 1
    assert verdict.facts["dropped"] > 1
    assert verdict.facts["night finished"] > 1
