"""Campaigns in small, with a fresh seed each time; `make campaign` runs them in any length with any seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from random import SystemRandom

import pytest

from tests.campaign import in_process, kills
from tests.campaign.clouds import TARGETS, Target
from tests.campaign.in_process import Outcome

FAULT_TRIALS, KILL_TRIALS = 30, 2


@pytest.fixture
def seed() -> int:
    """A fresh one, or CLOUDTRAIN_FUZZ_SEED to see the same again."""
    return int(os.environ.get("CLOUDTRAIN_FUZZ_SEED") or SystemRandom().randrange(10**6))


@pytest.fixture
def tell(record_property: Callable[[str, object], None], target: Target) -> Callable[..., None]:
    """Put what a campaign did into the closing lines of the test run, and fail on anything that leaked or lied."""

    def check(what: str, seed: int, outcomes: list[Outcome]) -> None:
        bad = [outcome for outcome in outcomes if outcome.leaks or outcome.lies]
        record_property("campaign", f"{target.name}: {len(outcomes)} {what}, seed {seed}: {len(bad)} leaked or lied")
        assert not bad, "\n".join("\n".join((*bad[0].leaks, *bad[0].lies, *bad[0].story)))

    return check


@pytest.mark.campaign
def test_random_faults_leave_nothing_behind(target: Target, seed: int, tell: Callable[..., None]) -> None:
    """Faults at any call and deaths at any step: gone means gone, and after deadline and sweep the ledger is empty."""
    outcomes = [in_process.trial(target, number) for number in range(seed, seed + FAULT_TRIALS)]
    tell("fault schedules", seed, outcomes)


@pytest.mark.engine
def test_random_kills_leave_nothing_behind(target: Target, seed: int, tell: Callable[..., None]) -> None:
    """SIGKILL to client, engine, plugin or all at a random moment of a real `up`."""
    outcomes = [kills.trial(target, number) for number in range(seed, seed + KILL_TRIALS)]
    tell("kills on the real engine", seed, outcomes)


@pytest.mark.campaign
def test_without_the_protocol_the_same_schedules_leak(target: Target) -> None:
    """The instrument can see: a plain cancel and destroy leaves machines behind."""
    assert any(in_process.trial(target, seed, protocol=False).leaks for seed in range(1, 80))


def test_every_cloud_of_a_campaign_is_there() -> None:
    """The four that `make campaign` names."""
    assert set(TARGETS) == {"aws", "gce", "tpu", "runpod"}
