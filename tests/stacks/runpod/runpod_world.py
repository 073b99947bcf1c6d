"""A fake RunPod that the environment points at, and plans for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.providers import Cloud, Driver, Stack, load
from cloudtrain.records import RowRecord
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import RunpodCloud
from tests.patience import TIMING
from tests.records import row

NOW = 1.79e9
LINE = row(
    provider="runpod",
    market="on_demand",
    hardware="mi300x",
    count=2,
    offer="AMD Instinct MI300X OAM x2",
    region="EU-RO-1",
)
CPU_LINE = LINE.replace(hardware="cpu", count=4, offer="cpu5c x4", region="any")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodCloud]:
    """A fake RunPod that the environment points at."""
    fake = RunpodCloud(Clock(NOW))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    yield fake
    fake.stop()


@pytest.fixture
def cloud() -> Cloud:
    """RunPod's part of the seam."""
    cloud = load("stacks", "runpod", Stack).cloud
    assert cloud is not None
    return cloud


@pytest.fixture
def pod(cloud: Cloud) -> Driver:
    """The driver of pods."""
    return cloud.drivers["pod"]


def inputs_of(cloud: Cloud, run: str = "one", attempt: int = 1, line: RowRecord = LINE) -> Mapping[str, Any]:
    """The inputs of the one resource of a plan that ends in an hour."""
    plan: Any = SimpleNamespace(run=run, attempt=attempt, line=line, deadline=NOW + 3600, boot=None, state="")
    (resource,) = cloud.resources(plan, {})
    return resource.inputs
