"""A rented run's life with nothing but a CI job's identity: bucket, machine, addresses and proof by the role's keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudtrain.signing.keyless import amazon
from cloudtrain.simulator.aws.account import Role
from cloudtrain.simulator.ci_identity import GithubTokens
from tests.campaign.job_world import JobWorld
from tests.keyless_world import ARN, secrets_in
from tests.runs.trust_world import command, rent, ticket

pytestmark = pytest.mark.machine


@pytest.fixture
def world() -> Iterator[JobWorld]:
    """One cloud for machines and buckets."""
    made = JobWorld("aws")
    made.begin()
    made.fake.machines_run = False
    yield made
    made.end()
    made.close()


def test_a_run_is_begun_and_ended_by_a_jobs_identity(world: JobWorld) -> None:
    """In processes of their own, as in CI: the engine's too; the machine's addresses are the role's."""
    issuer = GithubTokens(world.fake.clock)
    try:
        world.fake.roles[ARN] = Role(ARN, issuer, 43_200)
        person = world.person()
        for name in (amazon.KEY, amazon.SECRET):
            del person.environment[name]
        person.environment.update(issuer.environment() | {amazon.ROLE: ARN})
        rent(world, person)
        assert ticket(world)["post"]["fields"]["x-amz-credential"].startswith("ASIA")
        code, said = command(person, "ps")
        assert (code, "mine" in said) == (0, True)
        code, told = command(person, "down", "mine")
        assert code == 0, told
        assert world.both.leftovers() == []
        assert not secrets_in(said + told + person.output.read_text())
        kept = {name: data for name, data in world.objects().items() if b"PLANTED-SECRET-AWS-ROLE" in data}
        assert kept == {}
    finally:
        issuer.stop()
