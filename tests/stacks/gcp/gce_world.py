"""What the tests of Compute Engine share: plans, and making a plan's things by the drivers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudtrain import providers
from cloudtrain.errors import NotFound, Unavailable
from cloudtrain.plan import Plan
from cloudtrain.records import RowRecord
from cloudtrain.simulator.gcp.compute import GceCloud
from tests.records import row

START = 1_900_000_000.0
HOUR = 3600.0
PLACE = {"provider": "gcp", "region": "us-central1", "zone": "us-central1-a us-central1-b"}
ONE_HOST = row(offer="v6e-4", count=4, hardware="tpu-v6e", market="spot", **PLACE)
TWO_HOSTS = ONE_HOST.replace(offer="v6e-8", count=8)
PROCESSOR = row(
    **{
        "provider": "gcp",
        "offer": "c4-highmem-192",
        "count": 192,
        "hardware": "cpu-amx",
        "market": "on_demand",
        "region": "us-east1",
        "zone": "",
    }
)


def stack() -> providers.Stack:
    return providers.load("stacks", "gcp", providers.Stack)


def record() -> providers.Cloud:
    found = stack().cloud
    assert found is not None
    return found


def plan_of(line: RowRecord, *, run: str = "night-1", attempt: int = 1, hours: float = 4.0) -> Plan:
    return Plan(
        run=run,
        identity="x",
        provider="gcp",
        flavour="x",
        line=line,
        job={},
        spec_yaml="",
        data_sha256="",
        deadline=START + hours * HOUR,
        deadline_basis="",
        guards=(),
        flops_per_token=1.0,
        attempt=attempt,
    )


def parts(line: RowRecord, **more: Any) -> Sequence[providers.Resource]:
    return record().resources(plan_of(line, **more), record().account())


def inputs_of(line: RowRecord, role: str = "machine", **more: Any) -> dict[str, Any]:
    return next(dict(part.inputs) for part in parts(line, **more) if part.role == role)


def make(gce: GceCloud, line: RowRecord, **more: Any) -> dict[str, providers.ResourceState]:
    """Everything of a plan, each when the one before is ready."""
    made: dict[str, providers.ResourceState] = {}
    for part in parts(line, **more):
        needs = {role: {"id": made[role].id, **made[role].outputs} for role in part.after}
        inputs = {**part.inputs, "needs": needs}
        driver = record().drivers[part.kind]
        seen = driver.create(inputs)
        for _ in range(100):
            if seen.state != "building":
                break
            gce.clock.sleep(5.0)
            seen = driver.status(inputs, seen.id)
        assert seen.state == "ready", seen
        made[part.role] = seen
    return made


def owned(run: str | None = None) -> list[providers.OwnedResource]:
    return list(record().list_owned(run, None))


def sweep(gce: GceCloud) -> None:
    """What `down --orphans` does: list everything, delete backwards, until nothing is listed."""
    order = list(record().drivers)
    for _ in range(6):
        found = sorted(owned(), key=lambda each: -order.index(each.kind))
        for each in found:
            try:
                record().drivers[each.kind].delete(each.inputs, each.id)
            except (NotFound, Unavailable):
                continue
        gce.clock.sleep(30.0)
