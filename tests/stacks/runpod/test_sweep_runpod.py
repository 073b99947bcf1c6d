"""Everything of ours at RunPod is found without a record, and removed in an order that works."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from cloudtrain import errors
from cloudtrain.providers import Cloud, OwnedResource, Stack, load
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import KEY, RunpodCloud

NOW = 1.79e9
OURS, THEIRS = "ct-0123abcd-1-xtlq0zk", "ct-prod"
GPU = "AMD Instinct MI300X OAM"
BODIES: dict[str, dict[str, Any]] = {
    "pods": {"image": "i", "cpu": {"id": "cpu5c", "vcpuCount": 2}},
    "clusters": {"type": "TRAINING", "compute": {"gpuTypeId": GPU, "gpuCountPerPod": 1, "podCount": 3}},
    "network-volumes": {"size": 10, "dataCenter": "EU-RO-1"},
    "templates": {"image": "i"},
    "registries": {"username": "u", "password": "p"},
}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodCloud]:
    """A fake RunPod that the environment points at."""
    fake = RunpodCloud(Clock(NOW))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", "2,0.2,0.05,0.001")
    yield fake
    fake.stop()


@pytest.fixture
def cloud() -> Cloud:
    """RunPod's part of the seam."""
    cloud = load("stacks", "runpod", Stack).cloud
    assert cloud is not None
    return cloud


def make(fake: RunpodCloud, collection: str, name: str, **more: Any) -> str:
    """Something that exists, by its id."""
    with requests.Session() as session:
        session.trust_env = False
        body = {"name": name, **BODIES[collection], **more}
        reply = session.post(f"{fake.url}/v2/{collection}", json=body, headers={"Authorization": f"Bearer {KEY}"})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


def sweep(cloud: Cloud, run: str | None = None) -> list[OwnedResource]:
    """Delete what is found, the last made kind first; what fails stays for the next time."""
    found = list(cloud.list_owned(run, None))
    order = list(cloud.drivers)
    for owned in sorted(found, key=lambda owned: -order.index(owned.kind)):
        try:
            cloud.drivers[owned.kind].delete(owned.inputs, owned.id)
        except errors.ProviderError:
            continue
    return found


def test_every_kind_is_found_and_removed_and_nothing_of_others(fake: RunpodCloud, cloud: Cloud) -> None:
    """Pods, clusters, volumes, templates and registries, over several pages; foreign names are left alone."""
    for collection in BODIES:
        for name in (OURS, THEIRS, OURS, OURS, THEIRS):
            make(fake, collection, name)
    found = sweep(cloud)
    assert len(found) == 15
    assert {owned.kind for owned in found} == set(cloud.drivers)
    assert {(owned.run, owned.expires) for owned in found} == {("0123abcd", float(int("tlq0zk", 36)))}
    assert {owned.kind for owned in found if not owned.bills} == {"template", "registry"}
    assert all(owned.console_url.startswith("https://console.runpod.io/") for owned in found)
    assert sweep(cloud) == []
    assert [entry.what for entry in fake.ledger.running() if OURS in entry.what] == []
    assert len(fake.leftovers()) == 2 * (1 + 3 + 1 + 1 + 1)


def test_a_used_registry_goes_after_its_pod(fake: RunpodCloud, cloud: Cloud) -> None:
    """In the order of unmaking one pass is enough."""
    registry = make(fake, "registries", OURS)
    make(fake, "pods", OURS, registry=registry)
    with pytest.raises(errors.Unavailable):
        cloud.drivers["registry"].delete({"place": {}}, registry)
    sweep(cloud)
    assert fake.leftovers() == []


def test_stopped_and_broken_pods_are_ours_too(fake: RunpodCloud, cloud: Cloud) -> None:
    """They cost, so they are found."""
    fake.pods.end_container(make(fake, "pods", OURS), "EXITED")
    fake.pods.end_container(make(fake, "pods", OURS), "ERROR")
    assert len(sweep(cloud)) == 2
    assert fake.leftovers() == []


def test_a_cluster_that_only_its_pods_tell_of_is_found(
    fake: RunpodCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members carry its id, and it goes with them."""
    make(fake, "clusters", OURS)
    whole = fake.perform
    hide = True

    def perform(call: str, request: Any) -> Any:
        if call == "listClusters" and hide:
            return type(whole(call, request))(200, b'{"clusters": []}')
        return whole(call, request)

    monkeypatch.setattr(fake, "perform", perform)
    (owned,) = sweep(cloud)
    assert owned.kind == "cluster"
    assert fake.leftovers() == []


def test_one_run_is_listed_alone(fake: RunpodCloud, cloud: Cloud) -> None:
    """By its key, with and without places."""
    make(fake, "pods", OURS)
    make(fake, "pods", "ct-ffffffff-1-xtlq0zk")
    assert [owned.run for owned in cloud.list_owned("ffffffff", [{"region": "EU-RO-1"}])] == ["ffffffff"]
    assert len(list(cloud.list_owned(None, None))) == 2


def test_a_failing_page_is_an_error_and_no_short_list(fake: RunpodCloud, cloud: Cloud) -> None:
    """Half a list would be taken for all."""
    for _ in range(3):
        make(fake, "pods", OURS)
    fake.faults.add("listClusters", "unavailable", times=3)
    with pytest.raises(errors.Unavailable):
        cloud.list_owned(None, None)


def test_status_of_what_is_only_swept_says_gone(fake: RunpodCloud, cloud: Cloud) -> None:
    """There while it is there, NotFound afterwards."""
    volume = make(fake, "network-volumes", OURS)
    driver = cloud.drivers["network_volume"]
    inputs = {"place": {}, "name": OURS}
    assert driver.status(inputs, volume).state == "ready"
    assert [seen.id for seen in driver.find(inputs)] == [volume]
    driver.delete(inputs, volume)
    with pytest.raises(errors.NotFound):
        driver.status(inputs, volume)
    with pytest.raises(errors.Rejected):
        driver.create(inputs)


@pytest.mark.parametrize("seed", range(25))
def test_whatever_fails_the_ledger_is_empty_in_the_end(fake: RunpodCloud, cloud: Cloud, seed: int) -> None:
    """Pods are made under random faults, nobody remembers them, and sweeps find everything."""
    chance = random.Random(seed)
    fake.faults.scatter(chance, fake.fault_table, 12, longest_s=600, lag_s=30)
    inputs = {"run": "one", "attempt": 1, "name": OURS, "place": {}, "expires": NOW + 3600, "image": "i"}
    inputs |= {"disk_gb": 20, "data_centers": [], "cpu": {"id": "cpu5c", "count": 2}}
    fake.pods.self_delete = chance.random() < 0.5
    for _ in range(chance.randint(1, 6)):
        try:
            cloud.drivers["pod"].create(inputs)
        except errors.ProviderError:
            fake.clock.advance(chance.uniform(0, 100))
    fake.clock.advance(3600)
    for _ in range(60):
        try:
            if not sweep(cloud) and not sweep(cloud):
                break
        except errors.ProviderError:
            pass
        fake.clock.advance(60)
    fake.clock.advance(3600)
    assert fake.leftovers() == []
