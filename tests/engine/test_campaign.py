"""Campaigns in small: fixed seeds in the gate, fresh ones and kills in the soak; `make campaign` runs them in any length."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.campaign import in_process, kills
from tests.campaign.clouds import TARGETS, Target
from tests.campaign.in_process import Outcome

FIRST_SEED, FAULT_TRIALS = 1, 10
FRESH_TRIALS, KILL_TRIALS = 30, 2
CHOSEN = os.environ.get("CLOUDTRAIN_SEED")


@pytest.fixture
def fresh_seed() -> int:
    """One that nobody has chosen, or CLOUDTRAIN_SEED to see the same again."""
    return int(CHOSEN or SystemRandom().randrange(10**6))


@pytest.fixture
def tell(record_property: Callable[[str, object], None], target: Target) -> Callable[..., None]:
    """Put what a campaign did into the closing lines of the test run, and fail on anything that leaked or lied."""

    def check(what: str, seed: int, outcomes: list[Outcome]) -> None:
        bad = [outcome for outcome in outcomes if outcome.leaks or outcome.lies]
        record_property("campaign", f"{target.name}: {len(outcomes)} {what}, seed {seed}: {len(bad)} leaked or lied")
        assert not bad, "\n".join("\n".join((*bad[0].leaks, *bad[0].lies, *bad[0].story)))

    return check


@pytest.mark.campaign
def test_faults_and_deaths_leave_nothing_behind(target: Target, tell: Callable[..., None]) -> None:
    """Faults at any call and deaths at any step: gone means gone, and after deadline and sweep the ledger is empty."""
    outcomes = [in_process.trial(target, seed) for seed in range(FIRST_SEED, FIRST_SEED + FAULT_TRIALS)]
    tell("fault schedules", FIRST_SEED, outcomes)


@pytest.mark.soak
@pytest.mark.campaign
def test_random_faults_leave_nothing_behind(target: Target, fresh_seed: int, tell: Callable[..., None]) -> None:
    """The same with seeds that nobody has seen."""
    outcomes = [in_process.trial(target, seed) for seed in range(fresh_seed, fresh_seed + FRESH_TRIALS)]
    tell("fault schedules", fresh_seed, outcomes)


@pytest.mark.soak
@pytest.mark.engine
def test_random_kills_leave_nothing_behind(target: Target, fresh_seed: int, tell: Callable[..., None]) -> None:
    """SIGKILL to client, engine, plugin or all at a random moment of a real `up`."""
    outcomes = [kills.trial(target, seed) for seed in range(fresh_seed, fresh_seed + KILL_TRIALS)]
    tell("kills on the real engine", fresh_seed, outcomes)


@pytest.mark.campaign
def test_without_the_protocol_the_same_schedules_leak(target: Target) -> None:
    """The instrument can see: a plain cancel and destroy leaves machines behind."""
    assert any(in_process.trial(target, seed, protocol=False).leaks for seed in range(1, 80))


def test_every_cloud_of_a_campaign_is_there() -> None:
    """Those that `make campaign` names."""
    assert set(TARGETS) == {"aws", "digitalocean", "gce", "tpu", "runpod"}
