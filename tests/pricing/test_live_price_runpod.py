"""What `up` hears of RunPod about one pod: a refresh of its row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from cloudtrain.errors import MissingCredentials, Unavailable
from cloudtrain.offer import OfferKey
from cloudtrain.prices import one_row
from cloudtrain.providers import PriceSource, load
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Reply
from cloudtrain.simulator.runpod import RunpodCloud
from tests.pricing.price_tables import SNAPSHOTS


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodCloud]:
    """A fake RunPod that the environment points at."""
    cloud = RunpodCloud(Clock(1.79e9))
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield cloud
    cloud.stop()


def live(**line: Any) -> Decimal | None:
    """The live price of a line."""
    key = OfferKey("runpod", "", "any", "", "", 1, "on_demand")._replace(**line)
    return one_row.price(load("pricing", "runpod", PriceSource), key, SNAPSHOTS)


def test_a_gpu_pod_costs_the_gpu_times_the_count(cloud: RunpodCloud) -> None:
    """Two MI300X cost twice the catalogue's price of one, exactly."""
    assert live(hardware="mi300x", count=2, offer="AMD Instinct MI300X OAM x2") == Decimal("4.78")
    assert live(hardware="h100", count=1, offer="H100 SXM x1 community") == Decimal("2.69")


def test_a_cpu_pod_costs_its_vcpus(cloud: RunpodCloud) -> None:
    """Four vCPUs cost four times the flavour's price of one."""
    assert live(hardware="cpu", count=4, offer="cpu5c x4") == Decimal("0.140")


@pytest.mark.parametrize(
    "line",
    [
        {"hardware": "a100-80g", "count": 1, "offer": "A100 SXM x1 secure"},
        {"hardware": "cpu", "count": 4, "offer": "cpu9z x4"},
        {"hardware": "mi300x", "count": 9, "offer": "AMD Instinct MI300X OAM x9"},
        {"hardware": "mi300x", "count": 1, "offer": "AMD Instinct MI300X OAM x1", "market": "spot"},
    ],
)
def test_what_the_catalogue_does_not_offer_has_no_price(cloud: RunpodCloud, line: dict[str, Any]) -> None:
    """No price is None, never zero."""
    assert live(**line) is None


@pytest.mark.parametrize(
    "card", [{"secure": True, "price": {"secure": 0}}, {"secure": False, "price": {"secure": 2.39}}, {"secure": True}]
)
def test_a_price_of_zero_is_no_price(cloud: RunpodCloud, monkeypatch: pytest.MonkeyPatch, card: dict[str, Any]) -> None:
    """RunPod writes 0 for what it does not offer."""
    document = json.dumps({"gpus": [{"id": "AMD Instinct MI300X OAM", **card}]}).encode()
    monkeypatch.setattr(cloud, "perform", lambda call, request: Reply(200, document))
    assert live(hardware="mi300x", count=1, offer="AMD Instinct MI300X OAM x1") is None


def test_a_refused_key_is_missing_credentials(cloud: RunpodCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not shown, and the interface without a key does not take its place; without one it is asked."""
    monkeypatch.setenv("RUNPOD_API_KEY", "wrong-one")
    with pytest.raises(MissingCredentials) as refused:
        live(hardware="mi300x", count=1, offer="AMD Instinct MI300X OAM x1")
    assert "wrong-one" not in str(refused.value)
    monkeypatch.setenv("RUNPOD_API_KEY", "")
    assert live(hardware="mi300x", count=1, offer="AMD Instinct MI300X OAM x1") == Decimal("2.39")
    assert cloud.calls[-1] == "gpuTypes"


@pytest.mark.parametrize("kind", ["dropped", "unavailable", "throttled"])
def test_a_catalogue_that_does_not_answer_is_unavailable(cloud: RunpodCloud, kind: Any) -> None:
    """A failing catalogue is an error, never a price."""
    cloud.faults.add("listGpuTypes", kind, times=9)
    with pytest.raises(Unavailable):
        live(hardware="mi300x", count=1, offer="AMD Instinct MI300X OAM x1")
