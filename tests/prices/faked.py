"""A fake of each provider that can be asked for prices, and the faults that its answers may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import cloudtrain.pricing._http
import pytest

from cloudtrain.prices import folder, table
from cloudtrain.simulator.aws import AwsCloud, tables
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean import DigitaloceanCloud
from cloudtrain.simulator.gcp.price_catalogue import BillingCatalogue
from cloudtrain.simulator.gcp.price_skus import of_price_list, with_noise
from cloudtrain.simulator.price_faults import PriceFaults
from cloudtrain.simulator.prices.azure import AzurePrices
from cloudtrain.simulator.prices.hotaisle import HotaislePrices
from cloudtrain.simulator.prices.vultr import VultrPrices
from cloudtrain.simulator.runpod import RunpodCloud
from tests.prices.answering import START


class Server(Protocol):
    """What every fake has."""

    clock: Clock

    def environment(self) -> dict[str, str]: ...
    def stop(self) -> None: ...


class Faked(NamedTuple):
    """A fake that the environment points at."""

    server: Server
    faults: PriceFaults


def _aws() -> Faked:
    fake = AwsCloud(Clock(START), regions=tables.regions())
    fake.prices.page = 40
    return Faked(fake, fake.prices.faults)


def _gcp() -> Faked:
    rows = table.parse(folder.shipped_file("gcp").read_bytes(), "gcp").rows
    fake = BillingCatalogue(with_noise(of_price_list(rows)), Clock(START), page_size=300)
    return Faked(fake, fake.price_faults)


def _runpod() -> Faked:
    fake = RunpodCloud(Clock(START))
    return Faked(fake, fake.catalog.faults)


def _digitalocean() -> Faked:
    fake = DigitaloceanCloud(Clock(START))
    return Faked(fake, fake.price_faults)


def _prices(kind: type[AzurePrices] | type[HotaislePrices] | type[VultrPrices]) -> Callable[[], Faked]:
    def make() -> Faked:
        fake = kind(Clock(START))
        return Faked(fake, fake.price_faults)

    return make


FAKES: dict[str, Callable[[], Faked]] = {
    "aws": _aws,
    "azure": _prices(AzurePrices),
    "digitalocean": _digitalocean,
    "gcp": _gcp,
    "hotaisle": _prices(HotaislePrices),
    "runpod": _runpod,
    "vultr": _prices(VultrPrices),
}


@contextmanager
def standing(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faked]:
    """The provider's fake; nobody waits before a repeat."""
    faked = FAKES[name]()
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for variable, value in faked.server.environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(cloudtrain.pricing._http, "sleep", lambda seconds: None)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", "60,60,0.3,0.0001")  # the same for AWS
    try:
        yield faked
    finally:
        faked.server.stop()
