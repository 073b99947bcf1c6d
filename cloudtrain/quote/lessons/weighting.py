"""How much the speeds that were measured here count against the shipped figures: shrinkage in logarithms.

The shipped range is a prior: its logarithm is normal about ln(likely), 10 % of it below `low` and 10 % above `high`. A
measured speed is the truth with an error whose variance has a part of its own (a short run, a busy machine, chance) and
a part that all runs of its kind share (another size of model, another length, another place): repeating a run of a
small model never tells all about a large one. With precisions w = 1 / variance the posterior mean is

    mean = prior + B (measured - prior),    B = w / (w + 1 / prior variance)

(normal data, normal prior, known variances: Gelman et al., Bayesian Data Analysis, 3rd edition, sections 2.5, 5.4). Its
own variance would shrink with every run, however bad, because that model trusts both sides. They may disagree, so the
range is that of the mixture of both with weights 1 - B and B, whose variance has their disagreement in it:

    variance = (1 - B) prior + B s + B (1 - B) (measured - prior)^2

`s` is what the measured side leaves open. With n runs' worth (n = w RUN_SD^2: a long run of this very job on an idle
machine counts one) it is the prior's variance up to n = 1, and falls from there to the spread of runs alone, RUN_SD^2,
as 1 / n; it is never less than the spread that the runs have shown. A range narrower than the prior's takes n > 1.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from cloudtrain.offer import Range

Z10 = 1.2816  # of the standard normal distribution: 10 % lie above
# Of the logarithm of a speed. The rows of estimate/throughput.csv with the same chip, method and software give 0.20 for
# repeats (2 pairs), 0.26 for a size e times as large (8 pairs) and 0.33 for such a length (1 pair).
RUN_SD = 0.2  # between two long runs of one job on an idle machine
SIZE_SD = 0.25  # for each factor e in operations per token
LENGTH_SD = 0.3  # for each factor e in sequence length
PLACE_SD = math.log(1.5)  # INFERENCE: the same kind of machine at another provider, or nobody knows where
# INFERENCE: a run of so many steps and tokens may be off by a factor of 2, since the first steps fill caches and
# compile; the variance falls as 1 / steps.
FEW_STEPS, FEW_TOKENS = 50.0, 25_000.0
SHORT_SD = math.log(2.0)
MOST_LOAD = 0.95
UNKNOWN_LOAD = 1 / 3  # INFERENCE: where a run has not noted it


class Evidence(NamedTuple):
    """One measured speed: its logarithm, the two parts of its variance, and the kind of run that shares the second."""

    log_speed: float
    own: float
    shared: float
    kind: Hashable


class Corrected(NamedTuple):
    """A range of speeds with what was measured; `weight` is the measured share of it, `worth` is n in long runs."""

    speed: Range
    weight: float
    worth: float


def own_variance(steps: float | None, tokens: float | None, load: float | None) -> float:
    """Of a run alone. `load` is the share of the machine that others had, 0 to 1: it may have cost that much speed."""
    short = max(FEW_STEPS / max(steps or FEW_STEPS, 1.0), FEW_TOKENS / max(tokens or FEW_TOKENS, 1.0))
    known = load is not None and load >= 0
    busy = -math.log(1.0 - min(load if known and load is not None else UNKNOWN_LOAD, MOST_LOAD))
    return RUN_SD**2 + SHORT_SD**2 * short + busy**2


def shared_variance(size_ratio: float, length_ratio: float | None, same_place: bool) -> float:
    """Of all runs of a kind, for a job whose operations per token and length are so many times theirs."""
    length = math.log(4.0) if length_ratio is None else math.log(length_ratio)  # unknown: a factor of 4
    place = 0.0 if same_place else PLACE_SD**2
    return (SIZE_SD * math.log(size_ratio)) ** 2 + (LENGTH_SD * length) ** 2 + place


def corrected(prior: Range | None, found: Sequence[Evidence], most: float) -> Corrected | None:
    """The prior with what was measured; None when nothing was. `most` is the highest speed that there can be.

    Without a prior what was measured is all that is known, as uncertain as it is.
    """
    if not found:
        return None
    precision, mean, spread = pooled(found)
    worth = precision * RUN_SD**2
    if prior is None or min(prior) <= 0:
        away = Z10 * math.sqrt(1 / precision + max(RUN_SD**2, spread))
        return Corrected(Range(*(math.exp(mean + side * away) for side in (-1, 0, 1))), 1.0, worth)
    centre = math.log(prior.likely)
    below, above = (centre - math.log(prior.low)) / Z10, (math.log(prior.high) - centre) / Z10
    weight = precision / (precision + 1 / max((below + above) / 2, RUN_SD) ** 2)
    middle = centre + weight * (mean - centre)
    sides = []
    for deviation in (below, above):
        left = max(left_open(deviation**2, worth), spread)
        mixed = (1 - weight) * deviation**2 + weight * left + weight * (1 - weight) * (mean - centre) ** 2
        sides.append(Z10 * math.sqrt(mixed))
    high = min(math.exp(middle + sides[1]), max(most, prior.high))  # not above the peak, unless the prior was
    low = min(math.exp(middle - sides[0]), high if worth > 1 else high * prior.low / prior.high)
    return Corrected(Range(low, min(math.exp(middle), high), high), weight, worth)


def left_open(prior_variance: float, worth: float) -> float:
    """What the measured side leaves open of the prior's variance, or the spread of runs where the prior had less."""
    least = RUN_SD**2
    return least + max(0.0, prior_variance - least) / max(worth, 1.0)


def pooled(found: Iterable[Evidence]) -> tuple[float, float, float]:
    """(precision, mean, variance about the mean) of what was measured; a kind's shared error is not averaged away."""
    kinds: dict[tuple[Hashable, float], list[Evidence]] = {}
    for each in found:
        kinds.setdefault((each.kind, each.shared), []).append(each)
    total = mean = 0.0
    weights: list[tuple[float, float]] = []
    for (_, shared), runs in kinds.items():
        inside = sum(1 / run.own for run in runs)
        precision = 1 / (shared + 1 / inside)
        weights += [(precision / run.own / inside, run.log_speed) for run in runs]
        total += precision
    mean = sum(weight * speed for weight, speed in weights) / total
    return total, mean, sum(weight * (speed - mean) ** 2 for weight, speed in weights) / total
