"""From when on a price is old: a list price keeps for months, a spot price for days."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple


class Keeps(NamedTuple):
    """Days after which a price is warned of, and after which `up` takes it no longer unasked."""

    warn: int
    stale: int


LISTED, SPOT = Keeps(30, 90), Keeps(3, 14)


def keeps(market: str) -> Keeps:
    """How long a price of this market keeps."""
    return SPOT if market == "spot" else LISTED


def age_days(day: str, now: float) -> int | None:
    """Days since `day` (YYYY-MM-DD); None when that is unknown."""
    try:
        seen = datetime.fromisoformat(day).replace(tzinfo=UTC)
    except ValueError:
        return None
    return max(0, (datetime.fromtimestamp(now, UTC) - seen).days)
