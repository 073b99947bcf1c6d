"""The fixed points at which uncertain figures are sampled, and ranges as distributions.

A range is (P10, P50, P90) of a figure whose logarithm is normal on either side of the middle, which is how published
speeds scatter. The points are shifted rank-1 lattices (Dick, Kuo & Sloan, Acta Numerica 22, 2013, section 5): one
question has one answer. The few of `COARSE` order and reject rows, `MIDDLE` decides where that is a close thing; both
are built component by component after the P2 criterion, weights 0.85^d. The many of `FINE` are the best of some hundred
random sets of generators and shifts at P10, P50 and P90 of 208 kinds of machine (36 quotes): within 2.5 % of those
of 400,000 random runs for the cheapest of each market and 3.2 % for all but one: 5.9 %, where runs hardly ever
end and sets of 200,000 random ones differ by 5 % among themselves (2026-11-30; `tests/quote/sampling`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cloudtrain.offer import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

Z10 = 1.2815515655446004  # of the standard normal distribution: 10 % lie above
QUANTILES = (0.1, 0.5, 0.9)


class Lattice:
    """`count` points (even) in as many dimensions as there are generators."""

    def __init__(self, count: int, generators: Sequence[int], shifts: tuple[int, int, int] = (97, 41, 57)) -> None:
        self.count = count
        self.generators = generators
        self.shifts = shifts  # of a polynomial in the dimension
        self._orders: dict[int, Sequence[int]] = {}
        self._shapes: dict[tuple[int, float, float], Sequence[float]] = {}
        self._normal: Sequence[float] = ()
        self._exponential: Sequence[float] = ()
        self._sums: dict[tuple[int, tuple[Range, ...]], Sequence[float]] = {}

    def line(self, dimension: int) -> tuple[int, int]:
        """(generator, shift): point i lies in the slice (i generator + shift) mod count of the dimension."""
        square, linear, fixed = self.shifts
        shift = (square * dimension + linear) * dimension + fixed
        return self.generators[dimension % len(self.generators)], shift

    def order(self, dimension: int) -> Sequence[int]:
        """Of each point, which of the `count` equal slices of the dimension it lies in."""
        known = self._orders.get(dimension)
        if known is None:
            count, (generator, shift) = self.count, self.line(dimension)
            line = range(shift, shift + count * generator, generator)
            known = self._orders[dimension] = [place % count for place in line]
        return known

    def exponential(self) -> Sequence[float]:
        """The middle of each slice of an exponential distribution with the mean 1, in ascending order."""
        if not self._exponential:
            count, log = self.count, math.log
            self._exponential = [-log(1.0 - (slice_ + 0.5) / count) for slice_ in range(count)]
        return self._exponential

    def samples(self, dimension: int, figure: Range) -> Sequence[float]:
        """The figure at each point. One without a positive P10 scatters evenly about its middle on that side."""
        low, likely, high = figure
        if low == high:
            return (likely,) * self.count
        if low <= 0.0 or high == math.inf:
            return self._straight(dimension, figure)
        key = dimension, round(math.log(likely / low), 6), round(math.log(high / likely), 6)
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape(*key)
        return [likely * factor for factor in shape]

    def total(self, first_dimension: int, figures: tuple[Range, ...]) -> Sequence[float]:
        """Samples of a sum of independent figures, a dimension for each; kept, because many machines share theirs."""
        key = first_dimension, figures
        known = self._sums.get(key)
        if known is None:
            lists = (self.samples(first_dimension + index, figure) for index, figure in enumerate(figures))
            known = self._sums[key] = added(self.count, *lists)
        return known

    def _shape(self, dimension: int, below: float, above: float) -> Sequence[float]:
        """Factors on the middle: `below` and `above` are the logarithms of middle / P10 and P90 / middle."""
        lower, upper, exp = below / Z10, above / Z10, math.exp
        factors = [exp(z * (lower if z < 0 else upper)) for z in self.normal()]
        return [factors[slice_] for slice_ in self.order(dimension)]

    def _straight(self, dimension: int, figure: Range) -> Sequence[float]:
        """Normal on either side of the middle, never below zero."""
        low, likely, high = figure
        down, up, values = (likely - low) / Z10, (high - likely) / Z10, self.normal()
        spread = [values[slice_] for slice_ in self.order(dimension)]
        return [max(0.0, likely + (z * down if z < 0 else z * up)) for z in spread]

    def normal(self) -> Sequence[float]:
        """The middle of each slice of a standard normal distribution, in ascending order."""
        if not self._normal:
            half, count = self.count // 2, self.count
            upper = [normal_quantile((slice_ + 0.5) / count) for slice_ in range(half, count)]
            self._normal = [*(-each for each in reversed(upper)), *upper]
        return self._normal


def normal_quantile(share: float) -> float:
    """Of the standard normal distribution, to 3e-7 (Giles, GPU Computing Gems 2, 2011, chapter 10, table 5).

    By hand, because importing `statistics` takes a tenth of a quote's time.
    """
    x = 2.0 * share - 1.0
    w = -math.log((1.0 - x) * (1.0 + x))
    table, w = (_CENTRAL, w - 2.5) if w < 5.0 else (_TAIL, math.sqrt(w) - 3.0)
    value = 0.0
    for coefficient in table:
        value = value * w + coefficient
    return math.sqrt(2.0) * value * x


_CENTRAL = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
            -0.00417768164, 0.246640727, 1.50140941)  # fmt: skip
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
         1.00167406, 2.83297682)  # fmt: skip

COARSE = Lattice(128, (1, 47, 27, 37, 7, 55, 21, 17, 29, 11, 51, 57, 5, 33, 43, 61, 13, 39, 25, 9, 45, 35, 19, 3))
MIDDLE = Lattice(
    512, (1, 189, 43, 71, 155, 67, 241, 69, 157, 107, 31, 219, 85, 131, 17, 175, 117, 229, 55, 201, 97, 143, 27, 83)
)
FINE = Lattice(
    4096,
    (1737, 1961, 557, 1067, 1285, 1851, 1545, 603, 839, 1149, 1841, 1661, 559, 1583, 1457, 925, 421, 1197, 1517,
     1413, 883, 575, 167, 101),
    (3955, 93, 2441),
)  # fmt: skip


def mean(figure: Range) -> float:
    """Of the distribution that `samples` draws from."""
    low, likely, high = figure
    if low == high:
        return likely
    if low <= 0.0:
        return likely + (high - 2 * likely + low) / Z10 / math.sqrt(2.0 * math.pi)
    below, above = math.log(likely / low) / Z10, math.log(high / likely) / Z10
    root = math.sqrt(2.0)
    fast = math.exp(below * below / 2.0) * math.erfc(below / root)
    slow = math.exp(above * above / 2.0) * math.erfc(-above / root)
    return likely * (fast + slow) / 2.0


def added(count: int, *lists: Sequence[float]) -> Sequence[float]:
    """The sums, point by point; a tuple is a figure that does not vary, an empty one is none."""
    fixed = sum(each[0] for each in lists if isinstance(each, tuple) and each)
    varied = [each for each in lists if not isinstance(each, tuple)]
    if not varied:
        return (fixed,) * count
    total = varied[0]
    for other in varied[1:]:
        total = [one + two for one, two in zip(total, other, strict=True)]
    return [fixed + each for each in total] if fixed else total


def quantiles(drawn: Sequence[float]) -> Range:
    """P10, P50 and P90 of samples, each between the two nearest."""
    ordered = sorted(drawn)
    found = []
    for share in QUANTILES:
        place = share * len(ordered) - 0.5
        index = int(place)
        one, other = ordered[index], ordered[index + 1]
        found.append(one if one == other else one + (other - one) * (place - index))
    return Range(*found)
