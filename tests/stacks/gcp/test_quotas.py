"""Quotas of TPUs: which one an offer uses up, what a project has of it, and what is said where that is too little."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from cloudtrain.errors import NoQuotaHere, Quota
from cloudtrain.providers import Finding
from cloudtrain.records import RowRecord
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.tpu import TpuCloud
from tests.records import row
from tests.stacks.gcp.gce_world import ONE_HOST, PROCESSOR, START, TWO_HOSTS, make, record

quotas: Any = import_module("cloudtrain.stacks.gcp.quotas")
SPOT_V6E = "PREEMPTIBLE-TPU-V6E-per-project-region"
FAMILY = "TPUS-PER-TPU-FAMILY-per-project-region"
SPOT_V5E = "TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI"
V5E = "TPUV5sLitepodPerProjectPerZoneForTPUAPI"
SLICE = row(
    **{
        "provider": "gcp",
        "offer": "v5litepod-4",
        "count": 4,
        "hardware": "tpu-v5e",
        "market": "spot",
        "region": "us-west4",
        "zone": "us-west4-b",
    }
)


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What was asked for a moment ago is not what is true of another test's project."""
    quotas._infos.cache_clear()
    quotas._project.cache_clear()


@pytest.fixture
def gce(monkeypatch: pytest.MonkeyPatch) -> Iterator[GceCloud]:
    """A project at Compute Engine."""
    made = GceCloud(Clock(START))
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


@pytest.fixture
def tpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[TpuCloud]:
    """A project at the Cloud TPU API."""
    made = TpuCloud(Clock(START))
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    made.stop()


def why(line: RowRecord) -> NoQuotaHere | None:
    """What is said of a line before anything is asked for; None: nothing against it."""
    try:
        assert record().unavailable_reason(line.key) == ""
    except NoQuotaHere as error:
        return error
    return None


def on_demand(line: RowRecord, zone: str = "us-central1-a") -> RowRecord:
    return line.replace(market="on_demand", zone=zone, region=zone.rpartition("-")[0])


@pytest.mark.parametrize(
    ("line", "quota", "place"),
    [
        (ONE_HOST, SPOT_V6E, "us-central1"),
        (TWO_HOSTS, SPOT_V6E, "us-central1"),
        (on_demand(ONE_HOST), FAMILY, "us-central1"),
        (on_demand(ONE_HOST, "us-east5-a"), SPOT_V6E, "us-east5"),  # flex-start
        (ONE_HOST.replace(offer="v5p-8", hardware="tpu-v5p"), "PREEMPTIBLE-TPU-V5P-per-project-region", "us-central1"),
        (on_demand(ONE_HOST).replace(offer="v5p-8", hardware="tpu-v5p"), "TPU-V5P-per-project-region", "us-central1"),
    ],
)
def test_an_offer_without_quota_is_refused_before_and_by_google(
    gce: GceCloud, line: RowRecord, quota: str, place: str
) -> None:
    """By the same name, with the page on which to ask; and not where there is enough."""
    assert why(line) is None
    quotas._infos.cache_clear()
    gce.quotas.limits[quota, place] = line.count - 1
    found = why(line)
    assert found is not None
    assert found.exit_code == 4
    assert f"{quota}" in found.message
    assert f"is {line.count - 1} in {place}, and {line.offer} needs {line.count}" in found.message
    assert quota in found.hint
    assert "https://console.cloud.google.com/iam-admin/quotas?project=simulation-project" in found.hint
    with pytest.raises(Quota, match=quota):
        make(gce, line)
    gce.clock.advance(60)
    assert not gce.ledger.running()


def test_the_familys_own_limit_counts(gce: GceCloud) -> None:
    """One without dimensions holds for what has none of its own."""
    gce.quotas.limits[FAMILY, ""] = 0
    assert why(on_demand(ONE_HOST)) is not None
    quotas._infos.cache_clear()
    gce.quotas.limits[FAMILY, "us-central1"] = 4
    assert why(on_demand(ONE_HOST)) is None


def test_without_gpus_in_all_regions_no_tpu_starts(gce: GceCloud) -> None:
    gce.quotas.gpus = 0.0
    found = why(ONE_HOST)
    assert found is not None
    assert "GPUS_ALL_REGIONS of project simulation-project is 0" in found.message
    assert why(PROCESSOR) is None
    with pytest.raises(Quota, match="GPUS_ALL_REGIONS"):
        make(gce, ONE_HOST)
    make(gce, PROCESSOR, run="other")


def test_who_may_not_read_quotas_is_not_held_up(gce: GceCloud) -> None:
    gce.quotas.readable = False
    gce.quotas.limits[SPOT_V6E, ""] = 0
    assert why(ONE_HOST) is None
    with pytest.raises(Quota, match=SPOT_V6E):
        make(gce, ONE_HOST)


@pytest.mark.parametrize(
    ("line", "quota"),
    [(SLICE, SPOT_V5E), (SLICE.replace(market="on_demand"), V5E), (SLICE.replace(zone="us-west4-a"), SPOT_V5E)],
)
def test_the_tpu_api_has_pools_of_its_own_by_zone(tpu: TpuCloud, line: RowRecord, quota: str) -> None:
    tpu.tpu.quotas.limits[quota, line.zone] = 1
    found = why(line)
    assert found is not None
    assert f"is 1 in {line.zone}, and v5litepod-4 needs 4" in found.message
    assert why(line.replace(zone="us-west4-c")) is None


def of(found: list[Finding], name: str) -> Finding:
    """The finding about a quota."""
    return next(each for each in found if name in each.what)


def test_doctor_says_which_quota_is_missing_and_where_to_ask(gce: GceCloud) -> None:
    gce.quotas.limits |= {(FAMILY, ""): 0, (SPOT_V6E, ""): 0, (SPOT_V6E, "us-east5"): 8}
    found = list(record().findings())
    missing, there = of(found, f"{FAMILY} with tpu_family=CT6E"), of(found, SPOT_V6E)
    assert (missing.state, missing.message) == ("problem", "0 in every region")
    assert "console.cloud.google.com/iam-admin/quotas?project=simulation-project" in missing.hint
    assert (there.state, there.message) == ("ok", "chips: 8 in us-east5")


def test_doctor_says_when_quotas_cannot_be_read(gce: GceCloud) -> None:
    gce.quotas.readable = False
    found = of(list(record().findings()), "quotas of TPUs")
    assert found.state == "unknown"
    assert "cloudquotas.quotas.get" in found.hint
