"""A pod at RunPod is made once, found by its name, looked at, and proven gone."""

from __future__ import annotations

import importlib
import json
import time
from decimal import Decimal

import pytest

from cloudtrain import errors
from cloudtrain.providers import Cloud, Driver, Stack, load
from cloudtrain.simulator.runpod import RunpodCloud
from tests.stacks.runpod.runpod_world import CPU_LINE, LINE, NOW, cloud, fake, inputs_of, pod

__all__ = ["cloud", "fake", "pod"]  # fixtures


def test_a_pod_goes_from_made_to_gone(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """Made as building, ready, found, deleted, not found, and the ledger is empty."""
    inputs = inputs_of(cloud)
    fake.pods.ready_s = 60
    made = pod.create(inputs)
    assert (made.state, made.outputs["usd_per_hour"]) == ("building", "4.78")
    fake.clock.advance(61)
    assert pod.status(inputs, made.id).state == "ready"
    assert [seen.id for seen in pod.find(inputs)] == [made.id]
    pod.delete(inputs, made.id)
    pod.delete(inputs, made.id)
    with pytest.raises(errors.NotFound):
        pod.status(inputs, made.id)
    assert pod.find(inputs) == []
    assert fake.leftovers() == []


def test_create_sends_one_request(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """Nothing is looked at, repeated or waited for."""
    pod.create(inputs_of(cloud))
    assert fake.calls == ["createPod"]


def test_a_pod_of_cpus_is_made_anywhere(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """The flavour and the vCPUs are those of the offer."""
    made = pod.create(inputs_of(cloud, line=CPU_LINE))
    body = fake.pods.get(made.id).body
    assert body["cpu"] == {"id": "cpu5c", "vcpuCount": 4}
    assert "gpu" not in body
    assert "dataCenterIds" not in body


def test_nothing_that_is_sent_or_kept_holds_the_key(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """The key travels in one header alone."""
    inputs = inputs_of(cloud)
    made = pod.create(inputs)
    owned = cloud.list_owned(None, None)
    kept = json.dumps([inputs, made, fake.pods.get(made.id).body, str(list(owned))])
    assert "PLANTED-SECRET" not in kept


def test_all_pods_of_the_attempt_are_found_on_every_page_and_in_every_state(
    fake: RunpodCloud, cloud: Cloud, pod: Driver
) -> None:
    """Two calls make two pods, and both are found among others, stopped or broken."""
    inputs = inputs_of(cloud)
    for run, attempt in (("two", 1), ("one", 2), ("one", 11), ("two", 2), ("three", 1)):
        pod.create(inputs_of(cloud, run, attempt))
    ours = [pod.create(inputs).id for _ in range(3)]
    fake.pods.end_container(ours[0], "EXITED")
    fake.pods.end_container(ours[1], "ERROR")
    assert [(seen.id, seen.state) for seen in pod.find(inputs)] == list(
        zip(ours, ("ended", "ended", "ready"), strict=True)
    )


def test_a_pod_that_is_given_up_after_its_acceptance_is_ended(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """It is useless, and it costs until it is deleted."""
    inputs = inputs_of(cloud)
    fake.pods.ready_s = 60
    fake.faults.add("createPod", "no_capacity_later", seconds=5)
    made = pod.create(inputs)
    fake.clock.advance(6)
    assert pod.status(inputs, made.id)[1:3] == ("ended", "ERROR")


def test_the_serving_of_lines_is_what_resources_can_make(cloud: Cloud) -> None:
    """MI300X from one to eight, CPUs in powers of two, nothing on spot, nothing of NVIDIA, nothing of others."""
    assert cloud.serves(LINE.key)
    assert cloud.serves(CPU_LINE.key)
    for change in ({"count": 9}, {"market": "spot"}, {"hardware": "h100"}, {"provider": "aws"}, {"count": 0}):
        assert not cloud.serves(LINE.replace(**change).key)
    for change in ({"count": 6}, {"offer": "AMD"}, {"count": 1}):
        assert not cloud.serves(CPU_LINE.replace(**change).key)


def test_every_catalogue_row_of_the_mi300x_is_served(fake: RunpodCloud, cloud: Cloud, pod: Driver) -> None:
    """And what is made for it is accepted by RunPod."""
    from importlib.resources import files

    from cloudtrain.providers import Context, PriceSource

    source = load("pricing", "runpod", PriceSource)
    snapshots = files("cloudtrain.pricing").joinpath("snapshots")
    offers = [offer for offer in source.offers(Context(snapshots)) if offer.hardware == "mi300x"]  # type: ignore[arg-type]
    assert len(offers) == 8
    for offer in offers:
        line = LINE.replace(count=offer.count, offer=offer.name, region=offer.region, market=offer.market)
        assert cloud.serves(line.key)
        assert pod.create(inputs_of(cloud, line=line)).outputs["data_center"] == offer.region


def test_the_name_holds_run_attempt_and_end(cloud: Cloud) -> None:
    """It can be read back, even with something appended, and is short."""
    names = importlib.import_module("cloudtrain.stacks.runpod.names")
    name = str(inputs_of(cloud, "x" * 200, 12)["name"])
    assert len(name) <= 60
    read = names.parse(name)
    assert (read.attempt, read.expires) == (12, NOW + 3600)
    assert names.parse(f"{name}-migration") == read
    assert names.parse("ct-0123abcd-1-data").expires is None
    for foreign in ("mine", "ct-1", "ct-0123ABCD-1-x", "act-0123abcd-1-x", None, 7):
        assert names.parse(foreign) is None


def test_doctor_says_what_is_known_and_what_is_not(fake: RunpodCloud, cloud: Cloud) -> None:
    """The key and the stock are looked up; the credit and a pod's right to end itself are not known."""
    states = {finding.what: finding.state for finding in cloud.findings()}
    assert states == {
        "RunPod key": "ok",
        "RunPod credit": "unknown",
        "RunPod timer": "unknown",
        "RunPod MI300X": "ok",
        "RunPod prices": "ok",
    }
    fake.stock = False
    assert {f.what: f.state for f in cloud.findings()}["RunPod MI300X"] == "problem"
    fake.faults.add("listSshKeys", "permission")
    assert [finding.state for finding in cloud.findings()] == ["problem"]


def test_only_the_timer_works_alone() -> None:
    """One guard with the client gone is all that RunPod offers, and the record says so."""
    guards = load("stacks", "runpod", Stack).guards("AMD Instinct MI300X OAM x1", "on_demand")
    assert [guard.alone for guard in guards] == [True, False, False, False]


def test_the_real_pace_keeps_below_the_rate_limit(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty calls a minute are allowed; away from a simulation the horizon outlives a request."""
    monkeypatch.delenv("CLOUDTRAIN_RUNPOD_URL", raising=False)
    timing = cloud.timing()
    assert 60 / timing.poll_s <= 20
    assert timing.in_flight_s > timing.request_s
    assert Decimal(str(timing.consistency_s)) >= 30
    assert time.time() > NOW  # the instants of these tests lie in the past
