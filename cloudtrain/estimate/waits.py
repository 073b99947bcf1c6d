"""How long one waits for a machine: for the first one, and again after an interruption. A belief, as a range."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.offer import Range
from cloudtrain.units import SECONDS_PER_HOUR

if TYPE_CHECKING:
    from cloudtrain.offer import Market


class Wait(NamedTuple):
    """Seconds until a machine is there (P10, P50, P90), asked for the first time and after one was taken away."""

    first: Range
    again: Range
    source: str


def _hours(low: float, likely: float, high: float) -> Range:
    return Range(low, likely, high).scaled(SECONDS_PER_HOUR)


NOTHING = Range(0.0, 0.0, 0.0)

# The traces are estimation.md section 6's: AWS V100 on spot, 2023, was there 79, 55, 31 % of the time with 1.4, 2.1,
# 3.2 h between interruptions; what is not there for a share 1 - a of such cycles is away for M (1 - a) / a at a time.
# Who asks at any time finds none with the probability 1 - a, and waits as long again: 0.45 exp(-2.6 / 1.7) = 0.1.
_SPOT_ACCELERATOR = Wait(
    _hours(0.02, 0.1, 2.6),
    _hours(0.4, 1.7, 7.0),
    "spot traces of AWS V100, 2023: there 31 to 79 % of the time, away for 0.4 to 7 h",
)
_SPOT_HOST = Wait(
    _hours(0.01, 0.03, 0.5), _hours(0.05, 0.25, 2.0), "INFERENCE: other zones are tried; no trace of waits"
)
_ACCELERATOR = Wait(_hours(0.005, 0.02, 0.25), NOTHING, "INFERENCE: stock of accelerators is often low")
_HOST = Wait(_hours(0.002, 0.005, 0.05), NOTHING, "INFERENCE: hosts are nearly always there")
_NOTEBOOK = Wait(_hours(0.01, 0.05, 0.5), NOTHING, "INFERENCE: queues for notebooks with accelerators")
_OWNED = Wait(NOTHING, NOTHING, "")


def prior(market: Market, *, accelerator: bool) -> Wait:
    """The belief for a market; nobody publishes waits by provider."""
    if market == "owned":
        return _OWNED
    if market in ("free", "units"):
        return _NOTEBOOK
    if market == "spot":
        return _SPOT_ACCELERATOR if accelerator else _SPOT_HOST
    return _ACCELERATOR if accelerator else _HOST
