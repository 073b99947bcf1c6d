"""What the tests of the Cloud TPU API share: plans, and the four verbs over a plan's resources."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cloudtrain.plan import Plan
from cloudtrain.records import RowRecord
from tests.records import row

START = 1_900_000_000.0
HOUR = 3600.0
PROJECT = {"project": "simulation-project"}
SPOT = row(provider="gcp", offer="v5litepod-4", market="spot", zone="us-west4-a us-west4-b")
FLEX = SPOT.replace(market="on_demand")
tpu = import_module("cloudtrain.stacks.gcp.tpu")


def plan_of(line: RowRecord, attempt: int = 1, hours: float = 4.0) -> Plan:
    return Plan(
        run="night-1",
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


def parts(line: RowRecord, **more: Any) -> dict[str, Any]:
    return {r.role: r for r in tpu.resources(plan_of(line, **more), PROJECT)}


def make(resource: Any) -> Any:
    return tpu.DRIVERS[resource.kind].create(resource.inputs)


def status(resource: Any, known: str) -> Any:
    return tpu.DRIVERS[resource.kind].status(resource.inputs, known)


def delete(resource: Any, known: str) -> None:
    tpu.DRIVERS[resource.kind].delete(resource.inputs, known)


def find(resource: Any) -> Any:
    return tpu.DRIVERS[resource.kind].find(resource.inputs)


def arm(made: dict[str, Any]) -> None:
    make(made["time-limit-queue"])
    make(made["time-limit"])
