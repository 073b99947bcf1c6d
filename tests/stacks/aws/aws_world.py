"""What the tests of the AWS stack share: a fake account, a plan, and making everything that a plan needs."""

from __future__ import annotations

from collections.abc import Mapping

from cloudtrain.plan import Plan
from cloudtrain.providers import Cloud, Resource, ResourceState, Stack, load
from cloudtrain.records import RowRecord
from cloudtrain.simulator.aws import AwsCloud
from tests.records import row

NOW = 1.8e9
DEADLINE = NOW + 7200
LINE = row(
    **{
        "provider": "aws",
        "offer": "trn1.2xlarge",
        "region": "us-east-1",
        "zone": "use1-az5",
        "hardware": "trainium1",
        "market": "spot",
    }
)
ON_DEMAND = LINE.replace(offer="r8g.48xlarge", zone="", hardware="cpu-graviton4", market="on_demand")


def cloud_of_aws() -> Cloud:
    """AWS's part of the seam."""
    cloud = load("stacks", "aws", Stack).cloud
    assert cloud is not None
    return cloud


def plan(run: str = "run-1", line: RowRecord = LINE, attempt: int = 1) -> Plan:
    """A plan that ends two hours after NOW."""
    return Plan(run, "i", "aws", "f", line, {}, "", "", DEADLINE, "", (), 1.0, attempt=attempt)


def make(
    fake: AwsCloud, cloud: Cloud, of: Plan, upto: str = "time-limit"
) -> dict[str, tuple[Resource, Mapping, ResourceState]]:
    """Every resource of the plan up to a role, ready: role -> (resource, inputs, seen)."""
    made: dict[str, tuple[Resource, Mapping, ResourceState]] = {}
    for resource in cloud.resources(of, cloud.account()):
        needs = {role: {"id": made[role][2].id, **made[role][2].outputs} for role in resource.after}
        inputs = {**resource.inputs, "needs": needs}
        driver = cloud.drivers[resource.kind]
        seen = (driver.find(inputs) or [None])[0] if driver.shared else None
        seen = seen or driver.create(inputs)
        while seen.state == "building":
            fake.clock.advance(1)
            seen = driver.status(inputs, seen.id)
        made[resource.role] = (resource, inputs, seen)
        if resource.role == upto:
            break
    return made


def remove_all(fake: AwsCloud, cloud: Cloud, run: str | None = None) -> None:
    """A sweep: everything of ours, in reverse order of making, the machines' end awaited."""
    order = list(cloud.drivers)
    for owned in sorted(cloud.list_owned(run, None), key=lambda each: -order.index(each.kind)):
        cloud.drivers[owned.kind].delete(owned.inputs, owned.id)
        fake.clock.advance(1)
