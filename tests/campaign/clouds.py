"""The clouds of a campaign: the fake, and which machine of its catalogue is rented on it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from typing import NamedTuple

from cloudtrain.offer import Market
from cloudtrain.records import PriceRecord, RowRecord
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Fake


class Target(NamedTuple):
    """One CLOUD of `make campaign`: provider key, fake, and the words for `up` that lead to a machine there."""

    name: str
    provider: str
    fake: Callable[[Clock], Fake]
    words: tuple[str, ...]  # options of `up`
    line: RowRecord  # the quoted row for plans that are made without a quote


def fake(module: str, name: str) -> Callable[[Clock], Fake]:
    """A fake cloud's class, imported when it is wanted."""

    def make(clock: Clock) -> Fake:
        made: Fake = getattr(import_module(f"cloudtrain.simulator.{module}"), name)(clock)
        return made

    return make


def line(provider: str, offer: str, place: str, hardware: str, market: Market) -> RowRecord:
    """The part of a quoted row that a stack looks at; `place` is region or region/zone."""
    region, _, zone = place.partition("/")
    return RowRecord(
        provider=provider,
        offer=offer,
        region=region,
        zone=zone,
        hardware=hardware,
        count=1,
        market=market,
        price_usd_per_hour=Decimal("1.50"),
        price=PriceRecord(origin="snapshot", as_of="2026-11-01", source="", confidence=""),
    )


TARGETS = {
    "aws": Target(
        "aws",
        "aws",
        fake("aws", "AwsCloud"),
        ("--infra", "aws/us-east-1", "--infra", "aws/us-west-2", "--hardware", "cpu-amx", "--spot"),
        line("aws", "trn1.2xlarge", "us-east-1/use1-az5", "trainium1", "spot"),
    ),
    "gce": Target(
        "gce",
        "gcp",
        fake("gcp.compute", "GceCloud"),
        ("--infra", "gcp/us-east5", "--hardware", "tpu-v6e:1", "--spot"),
        line("gcp", "v6e-1", "us-east5/us-east5-b", "tpu-v6e", "spot"),
    ),
    "tpu": Target(
        "tpu",
        "gcp",
        fake("gcp.tpu", "TpuCloud"),
        ("--infra", "gcp/us-west4", "--hardware", "tpu-v5e:1", "--spot"),
        line("gcp", "v5litepod-4", "us-west4/us-west4-a", "tpu-v5e", "spot"),
    ),
    "runpod": Target(
        "runpod",
        "runpod",
        fake("runpod", "RunpodCloud"),
        ("--infra", "runpod", "--hardware", "mi300x", "--accept-risk"),
        line("runpod", "AMD Instinct MI300X OAM x1", "EU-RO-1", "mi300x", "on_demand"),
    ),
    "digitalocean": Target(
        "digitalocean",
        "digitalocean",
        fake("digitalocean", "DigitaloceanCloud"),
        (
            *("--infra", "digitalocean", "--hardware", "mi350x", "--hardware", "mi355x", "--hardware", "mi325x"),
            *("--spot", "--accept-risk"),
        ),
        line("digitalocean", "gpu-mi350x1-288gb-spot", "ric1", "mi350x", "spot"),
    ),
}
# Whole runs are on all of them, and on the TPUs of a Google whose machines else are processors: name -> target.
WHOLE_RUNS = {**{name: name for name in TARGETS}, "v6e": "gce"}
