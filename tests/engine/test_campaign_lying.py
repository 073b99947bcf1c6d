"""Machines that lie, and states that are damaged: a few fixed seeds in the gate; hundreds in the soak."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign import lying, state_fuzz
from tests.campaign.fork_server import ForkServer
from tests.campaign.job_world import JobWorld

pytestmark = pytest.mark.campaign
SEEDS = (1, 4, 7)
SEED_OF_A_SLICE = 3
FIRST_COMMAND, COMMANDS = 1, 100


@pytest.fixture(scope="module")
def world(fork_server: ForkServer) -> Iterator[JobWorld]:
    """One cloud for all."""
    made = JobWorld("runpod", fork_server)
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lying_machine_gains_nothing(world: JobWorld, seed: int) -> None:
    """No leak, nothing of others touched, no wrong exit code, nothing written outside its folder."""
    outcome = lying.trial(world, seed)
    assert (outcome.leaks, outcome.lies) == ([], []), "\n".join(outcome.story)


def test_a_lying_slice_gains_nothing(fork_server: ForkServer) -> None:
    """The same on the Cloud TPU API, whose machines may delete TPUs."""
    made = JobWorld("tpu", fork_server)
    try:
        outcome = lying.trial(made, SEED_OF_A_SLICE)
    finally:
        made.close()
    assert (outcome.leaks, outcome.lies) == ([], []), "\n".join(outcome.story)


def test_commands_on_damaged_states_end_as_they_may() -> None:
    """No traceback, no hang; `down` says 0 with a certificate, or 6."""
    with state_fuzz.account() as number:
        wrong = [
            found
            for seed in range(FIRST_COMMAND, FIRST_COMMAND + COMMANDS)
            if (found := state_fuzz.trial(seed, number))
        ]
    assert wrong == []


def test_the_fuzz_sees_a_wrong_end(tmp_path: Path) -> None:
    """A defect, a wrong code of `down`, and 0 without a certificate."""
    (tmp_path / state_fuzz.RUN).mkdir(parents=True)
    assert state_fuzz.verdict(("ps",), 1, "", tmp_path)
    assert state_fuzz.verdict(("down", state_fuzz.NAME), 2, "", tmp_path)
    assert state_fuzz.verdict(("down", state_fuzz.NAME), 0, "", tmp_path)
    assert not state_fuzz.verdict(("down", state_fuzz.NAME), 6, "", tmp_path)
    assert "CLOUDTRAIN_AWS_REGIONS" not in os.environ
