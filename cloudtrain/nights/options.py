"""What a tick is asked to do: the schedule, and how its runs may be started."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

LATEST_S: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class TickOptions:
    """One schedule as its file calls it; what is below `latest_s` goes to the run, as `up` takes it."""

    spec: Path
    name: str
    at: str = "00:00"  # HH:MM in `timezone`: from then on a date's night is due
    timezone: str = "UTC"
    latest_s: float = LATEST_S  # how late it may begin
    max_cost: Decimal | None = None
    stop_above_cap: bool = False
    budget_month: Decimal | None = None
    comment: Literal["issue", "pr"] | None = None
    notify_from: str | None = None  # the variable that holds an address to be told
    infra: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    spot: bool | None = None
    max_hours: float | None = None
    experimental: bool = False
    accept_risk: bool = False
    accept_stale: bool = False
    hub_token_from: str | None = None
