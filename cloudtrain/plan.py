"""Plan: everything that is decided before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cloudtrain.units import money

if TYPE_CHECKING:
    from cloudtrain.records import RowRecord

GRACE_S = 60.0  # between asking a trainer to write a checkpoint and killing it


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that may be started. `line` is the quoted row it was chosen on, price frozen; `job` the trainer's file."""

    run: str
    identity: str
    provider: str
    flavour: str
    line: RowRecord
    job: dict[str, Any]
    spec_yaml: str
    data_sha256: str
    deadline: float
    deadline_basis: str
    guards: tuple[str, ...]
    flops_per_token: float
    max_cost: Decimal | None = None
    attempt: int = 1
    state: str = ""  # the id that its names carry; see `state/identity.py`
    grace_s: float = GRACE_S
    heartbeat_s: float = 5.0
    idle: bool = False  # a machine without a job
    max_restarts: int = 3  # machines that may replace a preempted one
    teaches: bool = True  # later quotes learn from it
    accept_risk: bool = False  # as the person said it; for the machines that may follow
    agreed_usd: Decimal | None = None  # what was agreed to, all machines together
    revision: str | None = None  # the commit of the hub's that a spec which names none was resolved to
    reserved_until: float | None = None  # what is reserved of the budget counts so long without a record of the run
    segments: bool = False  # the run may go on, with its next machine, when this one's addresses end
    run_deadline: float | None = None  # of a run in segments, once `deadline` is that of its next machine
    cap_at: float | None = None  # when the money cap would be used up by the machine, epoch seconds
    stop_above_cap: bool = False  # the machine saves and stops as soon as its own rate says that the cap may not do
    rest: Mapping[str, Any] | None = None  # by what the machine foresees how it ends; see `runs/results/remaining.py`
    boot: Mapping[str, Any] | None = None  # where a rented machine finds its ticket: {state, ticket, signed_at}, no URL

    @property
    def ends(self) -> float:
        """When the whole run is over at the latest, all its machines together."""
        return self.deadline if self.run_deadline is None else self.run_deadline


def deadline_seconds(
    likely_high_s: float | None,
    max_hours: float | None,
    max_cost: Decimal | None,
    usd_per_hour: Decimal | None,
    ceiling_hours: float | None = None,
) -> tuple[float, str]:
    """How long the machine may exist, and why: the tightest of the caps and of one and a half times the quote.

    No cap loosens another. `ceiling_hours` is the setting: a spot machine that is preempted again and again has a
    worst case of centuries. Raises nothing; an unknown quote counts as a day.
    """
    if likely_high_s is None:
        caps = [(86400.0, "a day, because the quote has no hours")]
    else:
        caps = [(max(1800.0, 1.5 * likely_high_s), "1.5 x the quoted worst case, at least 30 min")]
    if max_hours is not None:
        caps.append((max_hours * 3600, f"--max-hours {max_hours:g}"))
    if max_cost is not None and usd_per_hour:
        caps.append((float(max_cost / usd_per_hour) * 3600, f"--max-cost {max_cost} at {money(usd_per_hour)}/h"))
    if ceiling_hours is not None:
        caps.append((ceiling_hours * 3600, f"the setting max_hours, {ceiling_hours:g}"))
    return min(caps, key=lambda cap: cap[0])
