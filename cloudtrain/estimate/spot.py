"""How often machines on spot are taken away, and what a run on them is expected to be billed for."""

from __future__ import annotations

import math
from typing import NamedTuple

from cloudtrain.offer import Range
from cloudtrain.units import SECONDS_PER_HOUR

_HIGHEST_EXPONENT = 700.0  # exp() of more overflows a double: such a run never finishes


class Prior(NamedTuple):
    """A belief about the mean time between preemptions, in seconds (`low` is the pessimistic end), and its source."""

    between_s: Range
    source: str


def _hours(low: float, likely: float, high: float) -> Range:
    return Range(low, likely, high).scaled(SECONDS_PER_HOUR)


# estimation.md section 6: replays of skypilot-org/spot-traces of 2023, and the bands of the AWS Spot Advisor.
PRIORS: dict[str, Prior] = {
    "accelerator": Prior(_hours(2.0, 4.9, 12.0), "spot traces of AWS V100, 2023: 1.4-3.2 h; printed as 2-12 h"),
    "aws-cpu": Prior(
        _hours(2.1, 83.0, 3270.0),
        "spot traces of AWS CPU machines, 2023: 0.8-5.3 h; AWS's own bands, 2024: 3,270 h at 20 % a month; and between",
    ),
    "gcp-cpu": Prior(_hours(5.0, 14.5, 42.0), "spot traces of GCP C3, 2023: 14.5 h or more; a factor of 3 either way"),
}


def prior(provider: str, *, accelerator: bool) -> Prior:
    """The belief to use where no trace exists. Providers without a CPU trace share the pessimistic one."""
    if accelerator:
        return PRIORS["accelerator"]
    return PRIORS.get(f"{provider}-cpu", PRIORS["aws-cpu"])


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
    return stretch_s(interval + checkpoint_s, restart_s, between_s) * (work_s / interval) + restart_s


def stretch_s(uninterrupted_s: float, restart_s: float, between_s: float) -> float:
    """Expected billed seconds until so many have passed without a preemption; every one costs a restart.

    Infinite when that is so long against the time between preemptions that it never comes to pass.
    """
    restarts, stretch = restart_s / between_s, uninterrupted_s / between_s
    if restarts + stretch > _HIGHEST_EXPONENT:
        return math.inf
    return between_s * math.exp(restarts) * math.expm1(stretch)
