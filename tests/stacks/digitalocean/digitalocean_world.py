"""A fake DigitalOcean that the environment points at, and plans for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.providers import Cloud, Driver, Stack, load
from cloudtrain.records import RowRecord
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean import DigitaloceanCloud
from tests.patience import TIMING
from tests.records import row

NOW = 1.79e9
LINE = row(
    provider="digitalocean",
    market="spot",
    hardware="mi350x",
    count=1,
    offer="gpu-mi350x1-288gb-spot",
    region="ric1",
)
ON_DEMAND = LINE.replace(market="on_demand", hardware="mi325x", offer="gpu-mi325x1-256gb", region="tor1")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[DigitaloceanCloud]:
    """A fake DigitalOcean that the environment points at."""
    fake = DigitaloceanCloud(Clock(NOW))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    yield fake
    fake.stop()


@pytest.fixture
def cloud() -> Cloud:
    """DigitalOcean's part of the seam."""
    cloud = load("stacks", "digitalocean", Stack).cloud
    assert cloud is not None
    return cloud


@pytest.fixture
def droplet(cloud: Cloud) -> Driver:
    """The driver of droplets."""
    return cloud.drivers["droplet"]


def inputs_of(cloud: Cloud, run: str = "one", attempt: int = 1, line: RowRecord = LINE) -> Mapping[str, Any]:
    """The inputs of the one resource of a plan that ends in an hour."""
    plan: Any = SimpleNamespace(run=run, attempt=attempt, line=line, deadline=NOW + 3600, boot=None, state="0123abcd")
    (resource,) = cloud.resources(plan, cloud.account())
    return resource.inputs
