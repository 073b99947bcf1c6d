"""How much a measured speed counts: shrinkage towards the shipped range, and when that range may become narrower."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.estimate import efficiency
from cloudtrain.offer import Range
from cloudtrain.quote.lessons import weighting
from cloudtrain.quote.lessons.weighting import Corrected, Evidence, corrected, own_variance, shared_variance

PEAK = 1e9  # tokens per second: no speed here is near it
LONG = own_variance(2000, 4e6, 0.0)
SAME = shared_variance(1.0, 1.0, same_place=True)
FAR = shared_variance(50.0, 4.0, same_place=True)
BUSY = own_variance(12, 6144, 0.75)

factors = st.floats(1.05, 10.0)
priors = st.builds(
    lambda likely, down, up: Range(likely / down, likely, likely * up), st.floats(1, 1e5), factors, factors
)
steps = st.none() | st.floats(1, 1e5)
variances = st.tuples(
    st.builds(own_variance, steps, st.none() | st.floats(100, 1e8), st.none() | st.floats(0, 1)),
    st.builds(shared_variance, st.floats(0.01, 100), st.none() | st.floats(0.1, 10), st.booleans()),
)
away = st.floats(-4, 4)  # of the logarithm of a measured speed from the prior's


def with_runs(prior: Range, *runs: tuple[float, float, float]) -> Corrected:
    """The prior with runs: (logarithm of speed less the prior's, own variance, shared variance)."""
    found = [Evidence(math.log(prior.likely) + off, own, shared, shared) for off, own, shared in runs]
    result = corrected(prior, found, PEAK)
    assert result is not None
    return result


def width(speed: Range) -> float:
    """How many times the low end the high end is."""
    return speed.high / speed.low


@given(prior=priors, off=away, variance=variances)
def test_the_middle_lies_between_shipped_and_measured(prior: Range, off: float, variance: tuple[float, float]) -> None:
    """And is the geometric mean of both, weighted."""
    found = with_runs(prior, (off, *variance))
    assert 0 < found.weight < 1
    assert math.log(found.speed.likely / prior.likely) == pytest.approx(found.weight * off, abs=1e-9)
    assert 0 < found.speed.low <= found.speed.likely <= found.speed.high


@given(prior=priors, off=away, variance=variances)
def test_one_run_never_makes_a_range_narrower(prior: Range, off: float, variance: tuple[float, float]) -> None:
    """Whatever it is: n is at most 1; and what disagrees widens."""
    found = with_runs(prior, (off, *variance))
    assert found.worth <= 1
    assert width(found.speed) >= width(prior) * (1 - 1e-9)
    if abs(off) > 1:
        assert width(found.speed) > width(prior)


@given(prior=priors, offs=st.lists(away, min_size=1, max_size=30), variance=variances)
def test_a_narrower_range_takes_more_than_one_run(
    prior: Range, offs: list[float], variance: tuple[float, float]
) -> None:
    """Of worth: many short ones of a small model are not enough."""
    found = with_runs(prior, *((off, *variance) for off in offs))
    if width(found.speed) < width(prior) * (1 - 1e-9):
        assert found.worth > 1


@given(prior=priors, off=away)
def test_many_long_runs_of_the_job_decide(prior: Range, off: float) -> None:
    """Both the middle and, where the shipped range is wide, how wide it is."""
    found = with_runs(prior, *[(off, LONG, SAME)] * 200)
    assert abs(math.log(found.speed.likely / prior.likely) - off) < 0.05 * abs(off) + 1e-9
    spread = math.exp(2 * weighting.Z10 * weighting.RUN_SD)
    assert width(found.speed) < max(spread * 1.6, width(prior)) or abs(off) > 1


@given(off=away, count=st.integers(1, 500))
def test_runs_of_another_size_never_decide(off: float, count: int) -> None:
    """Their error about this one is shared: it does not average away."""
    found = with_runs(Range(40.0, 100.0, 250.0), *[(off, LONG, FAR)] * count)
    assert found.weight < 1 / 3
    assert found.worth < 0.1


@pytest.mark.parametrize("slower", [2.0, 5.0])
def test_a_short_busy_run_moves_little_and_widens(slower: float) -> None:
    """12 steps of a small model, where others had three quarters of the machine; quoted is one fifty times as large."""
    prior = Range(40.0, 100.0, 250.0)
    found = with_runs(prior, (-math.log(slower), BUSY, FAR))
    assert 0.75 * prior.likely < found.speed.likely < prior.likely
    assert width(found.speed) > width(prior)


@pytest.mark.parametrize(
    ("better", "worse"),
    [((2000, 4e6, 0.0), (12, 4e6, 0.0)), ((2000, 4e6, 0.0), (2000, 6000, 0.0)), ((2000, 4e6, 0.0), (2000, 4e6, 0.5)),
     ((2000, 4e6, 0.0), (2000, 4e6, None)), ((2000, 4e6, 0.0), (None, None, 0.0))],
)  # fmt: skip
def test_short_busy_and_unknown_runs_weigh_less(
    better: tuple[float, float, float], worse: tuple[float, float, float]
) -> None:
    """Each alone."""
    prior = Range(40.0, 100.0, 250.0)
    assert (
        with_runs(prior, (1, own_variance(*worse), SAME)).weight
        < with_runs(prior, (1, own_variance(*better), SAME)).weight
    )


def test_runs_that_disagree_leave_a_wide_range() -> None:
    """Twenty long ones, half of them three times as fast as the others."""
    prior = Range(40.0, 100.0, 250.0)
    agree = with_runs(prior, *[(0.0, LONG, SAME)] * 20)
    differ = with_runs(prior, *[(side * math.log(3) / 2, LONG, SAME) for side in (-1, 1)] * 10)
    assert width(differ.speed) > 1.5 * width(agree.speed)


@pytest.mark.parametrize("shared", [SAME, FAR])
def test_no_speed_is_above_the_peak(shared: float) -> None:
    """Nor is the range narrower for it."""
    prior = Range(40.0, 100.0, 250.0)
    found = corrected(prior, [Evidence(math.log(1000.0), LONG, shared, 0)], 260.0)
    assert found is not None
    assert found.speed.high <= 260.0
    assert width(found.speed) >= width(prior) * (1 - 1e-9)


def test_without_a_shipped_figure_the_runs_are_all_there_is() -> None:
    """As uncertain as they are."""
    known = corrected(None, [Evidence(math.log(100.0), LONG, SAME, 0)], 0.0)
    vague = corrected(None, [Evidence(math.log(100.0), BUSY, FAR, 0)], 0.0)
    assert known is not None
    assert vague is not None
    assert known.speed.likely == pytest.approx(100)
    assert 1.5 < width(known.speed) < 5 < width(vague.speed)
    assert corrected(None, [], 0.0) is None


def shares_that_differ_in_size() -> Iterator[float]:
    """By how much the logarithm of the share of peak differs for each factor e of size, in pairs of published runs."""
    with open(Path(efficiency.__file__).with_name("throughput.csv"), encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["mfu_pct"] and row["gflop_per_token"]]
    alike = ("hardware", "chips", "method", "precision", "moe", "tier", "stack", "sequence_length")
    for one, other in combinations(rows, 2):
        size = abs(math.log(float(one["gflop_per_token"]) / float(other["gflop_per_token"])))
        if size > 1 and all(one[name] == other[name] for name in alike):
            yield math.log(float(one["mfu_pct"]) / float(other["mfu_pct"])) / size


def test_the_error_of_size_is_that_of_the_published_runs() -> None:
    """The root of the mean square, within a quarter."""
    found = list(shares_that_differ_in_size())
    assert len(found) >= 8
    assert math.sqrt(sum(each**2 for each in found) / len(found)) == pytest.approx(weighting.SIZE_SD, rel=0.25)
