"""Interruptions: the formula against a replay of our own, and its edges."""

from __future__ import annotations

import math
from random import Random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtrain.estimate import spot
from tests.chance import examples

HOUR = 3600.0


def replay(random: Random, work: float, interval: float, save: float, restart: float, between: float) -> float:
    """Billed seconds of one run, second by second of its segments, with exponential preemptions."""
    billed, done = 0.0, 0.0
    left = random.expovariate(1 / between)
    starting = restart
    while done < work:
        segment = min(interval, work - done)
        need = starting + segment + (save if done + segment < work else 0.0)
        if left >= need:
            left, billed, done, starting = left - need, billed + need, done + segment, 0.0
        else:  # preempted: everything since the last save is lost
            billed, left, starting = billed + left, random.expovariate(1 / between), restart
    return billed


@pytest.mark.parametrize("work", [4 * HOUR, 12 * HOUR])
@pytest.mark.parametrize("save", [20.0, 120.0])
@pytest.mark.parametrize("between", [1 * HOUR, 2 * HOUR, 5 * HOUR, 12 * HOUR])
def test_expected_billing_agrees_with_a_replay(work: float, save: float, between: float) -> None:
    """Daly's formula is within 8 % of the mean of 1,500 replayed runs."""
    random = Random(7)
    run = spot.expected(work, save, 300.0, between)
    billed = mean(replay(random, work, run.interval_s, save, 300.0, between) for _ in range(1500))
    assert run.billed_s == pytest.approx(billed, rel=0.08)


def test_the_interval_is_youngs() -> None:
    """20 s saves and two hours between preemptions: save every 9 minutes."""
    assert spot.interval_s(2 * HOUR, 20.0) == pytest.approx(536.7, abs=0.1)


def test_first_order_agrees_where_preemptions_are_rare() -> None:
    """With days between preemptions both formulas agree to a tenth of a percent, the first start apart."""
    exact = spot.billed_s(HOUR, 1200.0, 20.0, 60.0, 100 * HOUR) - 60.0
    assert spot.first_order_s(HOUR, 1200.0, 20.0, 60.0, 100 * HOUR) == pytest.approx(exact, rel=1e-3)


def test_hopeless_runs_are_infinite_and_do_not_crash() -> None:
    """A restart of days against minutes between preemptions never finishes."""
    assert spot.billed_s(HOUR, 600.0, 20.0, 1e9, 60.0) == math.inf
    assert spot.expected(HOUR, 20.0, 1e9, 60.0, wait_s=600.0).wall_s == math.inf
    assert spot.expected(HOUR, 20.0, 300.0, 0.0).billed_s == math.inf
    assert spot.first_order_s(HOUR, 0.0, 20.0, 300.0, HOUR) == math.inf


positive = st.floats(0.0, 1e12)


@settings(max_examples=examples(100))
@given(positive, positive, positive, positive, positive)
def test_no_figures_crash_and_nothing_is_free(
    work: float, save: float, restart: float, between: float, wait: float
) -> None:
    """Billed time is at least the work, wall time at least the billed, whatever the figures."""
    run = spot.expected(work, save, restart, between, wait)
    assert run.billed_s >= work * (1 - 1e-9)
    assert run.wall_s >= run.billed_s
    assert run.preemptions >= 0
    assert not math.isnan(run.wall_s)


def test_priors_tell_accelerators_from_processors() -> None:
    """Accelerators are preempted every 2 to 12 hours, AWS processors every 0.8 to 5.3, Google's every 5 to 15."""
    hours = {
        key: tuple(bound / HOUR for bound in spot.PRIORS[key].between_s)
        for key in ("accelerator", "aws-cpu", "gcp-cpu")
    }
    assert (hours["accelerator"][0], hours["accelerator"][2]) == (2, 12)
    assert (hours["aws-cpu"][0], hours["aws-cpu"][2]) == (0.8, pytest.approx(5.3))
    assert (hours["gcp-cpu"][0], hours["gcp-cpu"][2]) == (5, 15)
    assert spot.prior("aws", accelerator=True) is spot.PRIORS["accelerator"]
    assert spot.prior("gcp", accelerator=False) is spot.PRIORS["gcp-cpu"]
    assert spot.prior("runpod", accelerator=False) is spot.PRIORS["aws-cpu"]
    assert all(item.source for item in spot.PRIORS.values())
