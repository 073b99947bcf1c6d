"""What interruptions cost: how often to save, what is billed in the end, and how long one waits for it."""

from __future__ import annotations

import math
from typing import NamedTuple

from cloudtrain.offer import Range
from cloudtrain.units import SECONDS_PER_HOUR

_HIGHEST_EXPONENT = 700.0  # exp() of more overflows a double: such a run never finishes


class SpotRun(NamedTuple):
    """A run on interruptible machines: seconds between saves, expected billed and wall seconds, and interruptions."""

    interval_s: float
    billed_s: float
    wall_s: float
    preemptions: float


class Prior(NamedTuple):
    """A belief about the mean time between preemptions, in seconds (`low` is the pessimistic end), and its source."""

    between_s: Range
    source: str


def _hours(low: float, likely: float, high: float) -> Range:
    return Range(low, likely, high).scaled(SECONDS_PER_HOUR)


# estimation.md section 6: replays of skypilot-org/spot-traces of 2023; the middle is the geometric mean of the ends.
PRIORS: dict[str, Prior] = {
    "accelerator": Prior(_hours(2.0, 4.9, 12.0), "spot traces of AWS V100, 2023: 1.4-3.2 h; printed as 2-12 h"),
    "aws-cpu": Prior(_hours(0.8, 2.1, 5.3), "spot traces of AWS CPU machines, 2023"),
    "gcp-cpu": Prior(_hours(5.0, 8.7, 15.0), "spot traces of GCP C3, 2023: 14.5 h or more; lowered for other days"),
}


def prior(provider: str, *, accelerator: bool) -> Prior:
    """The belief to use where no trace exists. Providers without a CPU trace share the pessimistic one."""
    if accelerator:
        return PRIORS["accelerator"]
    return PRIORS.get(f"{provider}-cpu", PRIORS["aws-cpu"])


def interval_s(between_s: float, checkpoint_s: float) -> float:
    """The best time between saves, sqrt(2 x save x mean time between preemptions) (Young 1974)."""
    return math.sqrt(2.0 * checkpoint_s * between_s)


def billed_s(work_s: float, interval: float, checkpoint_s: float, restart_s: float, between_s: float) -> float:
    """Expected billed seconds of `work_s` useful ones, under exponential preemptions (Daly 2006), first start included.

    A shorter run than the interval never saves, so the interval is no longer than the work. Infinite when a restart or
    an interval is so long against the time between preemptions that the work is never done.
    """
    if work_s <= 0:
        return restart_s
    interval = min(interval, work_s)
    if interval <= 0 or between_s <= 0:
        return math.inf
    restarts, segment = restart_s / between_s, (interval + checkpoint_s) / between_s
    if restarts + segment > _HIGHEST_EXPONENT:
        return math.inf
    return between_s * math.exp(restarts) * math.expm1(segment) * (work_s / interval) + restart_s


def first_order_s(work_s: float, interval: float, checkpoint_s: float, restart_s: float, between_s: float) -> float:
    """The same to first order: saves, and per preemption half an interval and a restart. Infinite for zero times."""
    if interval <= 0 or between_s <= 0:
        return math.inf
    return work_s * (1.0 + checkpoint_s / interval + (interval / 2.0 + restart_s) / between_s)


def expected(
    work_s: float,
    checkpoint_s: float,
    restart_s: float,
    between_s: float,
    wait_s: float = 0.0,
    interval: float | None = None,
) -> SpotRun:
    """A run of `work_s` that saves every `interval`, else at the best one; `wait_s` for capacity per preemption."""
    if interval is None:
        interval = interval_s(between_s, checkpoint_s)
    billed = billed_s(work_s, interval, checkpoint_s, restart_s, between_s)
    preemptions = billed / between_s if between_s > 0 else math.inf
    waits = preemptions * wait_s if wait_s else 0.0
    return SpotRun(interval, billed, billed + waits, preemptions)
