"""Whole runs: a few fixed schedules and a fresh one per cloud in the soak; that what verifies them can see, in the gate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from random import SystemRandom

import pytest

from cloudtrain.simulator.aws.wire import backend
from tests.campaign import jobs
from tests.campaign.fork_server import ForkServer
from tests.campaign.in_process import Outcome
from tests.campaign.job_world import BUCKET, RENTALS, JobWorld

pytestmark = pytest.mark.campaign
SEEDS = (2, 5)
CHOSEN = os.environ.get("CLOUDTRAIN_SEED")


@pytest.fixture(scope="module", params=sorted(RENTALS))
def world(request: pytest.FixtureRequest, fork_server: ForkServer) -> Iterator[JobWorld]:
    """Each cloud in turn."""
    made = JobWorld(request.param, fork_server)
    yield made
    made.close()


@pytest.mark.soak
def test_whole_runs_leak_nothing_lose_nothing_and_tell_the_truth(
    world: JobWorld, record_property: Callable[[str, object], None]
) -> None:
    """Ledger, log, exit codes, result and secrets, whatever happens to machine, bucket and clients meanwhile."""
    fresh = int(CHOSEN or SystemRandom().randrange(10**6))
    outcomes = [jobs.trial(world, seed) for seed in (*SEEDS, fresh)]
    bad = [outcome for outcome in outcomes if outcome.leaks or outcome.lies]
    told = f"{world.name}: {len(outcomes)} whole runs, seeds {SEEDS} and {fresh}: {len(bad)} leaked or lied"
    record_property("campaign", told)
    assert not bad, "\n".join((*bad[0].leaks, *bad[0].lies, *bad[0].story))


class Spoiled(jobs.JobTrial):
    """A schedule without trouble, in which something is spoiled before the last look."""

    def __init__(self, world: JobWorld, spoil: Callable[[JobWorld, str], None]) -> None:
        super().__init__(world, 1)
        self.events, self.spoil = [], spoil

    def scatter(self) -> None:
        """No faults."""

    def look_after(self) -> None:
        """Nobody comes."""
        self.spoil(self.world, f"team/runs/{self.run_name}/")


def put(world: JobWorld, key: str, data: bytes) -> None:
    """Place an object."""
    backend("s3", str(world.both.buckets.account), "aws").put_object(BUCKET, key, data)


def lose_the_last_chunk(world: JobWorld, prefix: str) -> None:
    shelf = backend("s3", str(world.both.buckets.account), "aws").buckets[BUCKET].keys
    shelf.pop(max(name for name in list(shelf) if name.startswith(prefix + "machine/log/")))


def put_a_secret_there(world: JobWorld, prefix: str) -> None:
    put(world, prefix + "note", world.both.secrets()[0].encode())


def change_the_result(world: JobWorld, prefix: str) -> None:
    put(world, prefix + "machine/output/adapter_config.json", b"{}")


def leave_a_disk(world: JobWorld, prefix: str) -> None:
    world.fake.ledger.open("disk-1", "forgotten disk", 0.1)


@pytest.fixture(scope="module")
def google(fork_server: ForkServer) -> Iterator[JobWorld]:
    """One cloud for all of them."""
    made = JobWorld("gce", fork_server)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (lose_the_last_chunk, "log: "),
        (put_a_secret_there, "holds a secret"),
        (change_the_result, "the result is another one"),
        (leave_a_disk, "forgotten disk"),
    ],
)
def test_the_verifier_sees_what_is_wrong(google: JobWorld, spoil: Callable[[JobWorld, str], None], seen: str) -> None:
    """A lost piece of log, a secret, another result and a forgotten disk do not pass."""
    google.begin()
    try:
        outcome: Outcome = Spoiled(google, spoil).run()
    finally:
        google.end()
    assert any(seen in words for words in (*outcome.leaks, *outcome.lies)), outcome
