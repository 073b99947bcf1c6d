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
    interval = math.sqrt(2 * save * between)
    billed = mean(replay(random, work, interval, save, 300.0, between) for _ in range(1500))
    assert spot.billed_s(work, interval, save, 300.0, between) == pytest.approx(billed, rel=0.08)


def test_hopeless_runs_are_infinite_and_do_not_crash() -> None:
    """A restart of days against minutes between preemptions never finishes."""
    assert spot.billed_s(HOUR, 600.0, 20.0, 1e9, 60.0) == math.inf
    assert spot.billed_s(HOUR, 600.0, 20.0, 300.0, 0.0) == math.inf


positive = st.floats(0.0, 1e12)


@settings(max_examples=examples(100))
@given(positive, positive, positive, positive, positive)
def test_no_figures_crash_and_nothing_is_free(
    work: float, interval: float, save: float, restart: float, between: float
) -> None:
    """Billed time is at least the work, whatever the figures."""
    billed = spot.billed_s(work, interval, save, restart, between)
    assert billed >= work * (1 - 1e-9)
    assert not math.isnan(billed)


def test_priors_tell_accelerators_from_processors() -> None:
    """Each has a range of its own; a provider without a trace shares the wide one."""
    hours = {
        key: tuple(bound / HOUR for bound in spot.PRIORS[key].between_s)
        for key in ("accelerator", "aws-cpu", "gcp-cpu")
    }
    assert (hours["accelerator"][0], hours["accelerator"][2]) == (2, 12)
    assert (hours["aws-cpu"][0], hours["aws-cpu"][2]) == (pytest.approx(2.1), 3270)
    assert (hours["gcp-cpu"][0], hours["gcp-cpu"][2]) == (5, 42)
    assert spot.prior("aws", accelerator=True) is spot.PRIORS["accelerator"]
    assert spot.prior("gcp", accelerator=False) is spot.PRIORS["gcp-cpu"]
    assert spot.prior("runpod", accelerator=False) is spot.PRIORS["aws-cpu"]
    assert all(item.source for item in spot.PRIORS.values())
