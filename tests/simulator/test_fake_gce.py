"""The fake Compute Engine refuses what the real one refuses, bills what it bills, and ends what it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.compute.answers import PROJECT
from cloudtrain.simulator.gcp.compute.calls import FAULT_TABLE, KINDS
from cloudtrain.simulator.gcp.compute.documents import schemas
from cloudtrain.simulator.gcp.compute.routes import route
from tests.patience import PATIENCE_S

START = 1_900_000_000.0
ZONE = f"/projects/{PROJECT}/zones/us-central1-a"
REGION = f"/projects/{PROJECT}/regions/us-central1"
TPU_IMAGE = "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[GceCloud]:
    made = GceCloud(Clock(START))
    yield made
    made.stop()


@pytest.fixture
def gce(one_cloud: GceCloud) -> GceCloud:
    one_cloud.reset(Clock(START))
    return one_cloud


def send(gce: GceCloud, method: str, path: str, body: Any = None, **query: str) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {gce.environment()['CLOUDTRAIN_SIMULATOR_TOKEN']}"}
    reply = requests.request(
        method, f"{gce.url}/compute/v1{path}", json=body, params=query, headers=headers, timeout=PATIENCE_S
    )
    return reply.status_code, reply.json()


def properties(**scheduling: Any) -> dict[str, Any]:
    return {
        "machineType": "zones/us-central1-a/machineTypes/ct6e-standard-4t",
        "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": False, **scheduling},
        "networkInterfaces": [{"network": "global/networks/default"}],
        "labels": {"a": "b"},
        "disks": [
            {"boot": True, "autoDelete": True, "initializeParams": {"diskSizeGb": "200", "sourceImage": TPU_IMAGE}}
        ],
    }


def body(name: str = "vm", **scheduling: Any) -> dict[str, Any]:
    return {"name": name, **properties(**scheduling)}


def insert(gce: GceCloud, name: str = "vm", **scheduling: Any) -> tuple[int, dict[str, Any]]:
    return send(gce, "POST", f"{ZONE}/instances", body(name, **scheduling))


def status(gce: GceCloud, name: str = "vm") -> str:
    code, document = send(gce, "GET", f"{ZONE}/instances/{name}")
    return str(document["status"]) if code == 200 else "gone"


def bills(gce: GceCloud) -> list[str]:
    return [entry.what for entry in gce.ledger.running()]


LIMIT = {"maxRunDuration": {"seconds": "3600"}}


@pytest.mark.parametrize(
    ("scheduling", "more"),
    [
        ({"unheardOf": True}, {}),
        ({"automaticRestart": "no"}, {}),
        ({"provisioningModel": "CHEAP"}, {}),
        ({"onHostMaintenance": "MIGRATE"}, {}),
        ({"provisioningModel": "SPOT", "automaticRestart": True}, {}),
        ({"maxRunDuration": {"seconds": "29"}}, {}),
        ({"maxRunDuration": {"seconds": str(121 * 86400)}}, {}),
        ({**LIMIT, "terminationTime": "2030-03-17T18:46:40Z"}, {}),
        ({"terminationTime": "2020-01-01T00:00:00Z"}, {}),
        ({"instanceTerminationAction": "DELETE"}, {}),
        ({"provisioningModel": "FLEX_START", "maxRunDuration": {"seconds": "599"}}, {}),
        ({"provisioningModel": "FLEX_START", "maxRunDuration": {"seconds": str(8 * 86400)}}, {}),
        ({}, {"name": "Upper"}),
        ({}, {"labels": {"Key": "b"}}),
        ({}, {"machineType": "zones/us-east5-a/machineTypes/ct6e-standard-4t"}),
        ({}, {"machineType": "zones/us-central1-a/machineTypes/none-such"}),
        ({}, {"networkInterfaces": []}),
        ({}, {"disks": []}),
        ({}, {"params": {"requestValidForDuration": {"seconds": "0"}}}),
    ],
)
def test_what_the_real_api_refuses_is_refused(gce: GceCloud, scheduling: dict[str, Any], more: dict[str, Any]) -> None:
    code, document = send(gce, "POST", f"{ZONE}/instances", {**body(**scheduling), **more})
    assert code == 400, document
    assert document["error"]["errors"][0]["reason"] == "invalid"
    assert gce.leftovers() == []


def test_v5e_is_refused_as_the_real_one_refuses_it(gce: GceCloud) -> None:
    machine = {**body(), "machineType": "zones/us-central1-a/machineTypes/ct5lp-hightpu-4t"}
    code, document = send(gce, "POST", f"{ZONE}/instances", machine)
    assert code == 403
    assert "not allowed to use the machine type" in document["error"]["message"]


def test_a_stranger_is_refused(gce: GceCloud) -> None:
    assert requests.get(f"{gce.url}/compute/v1{ZONE}/instances", timeout=PATIENCE_S).status_code == 401


def test_a_machine_and_its_disk_cost_until_they_are_deleted(gce: GceCloud) -> None:
    insert(gce)
    assert status(gce) == "PROVISIONING"
    gce.clock.advance(3600.0)
    assert status(gce) == "RUNNING"
    assert bills(gce) == ["disk vm", "instance vm"]
    assert gce.ledger.usd() == pytest.approx(4 * 2.7 + 200 * 0.1 / 730)
    send(gce, "DELETE", f"{ZONE}/instances/vm")
    assert status(gce) == "gone"
    assert gce.leftovers() == []


def test_a_disk_without_auto_delete_costs_on(gce: GceCloud) -> None:
    machine = body()
    machine["disks"][0]["autoDelete"] = False
    send(gce, "POST", f"{ZONE}/instances", machine)
    send(gce, "DELETE", f"{ZONE}/instances/vm")
    assert bills(gce) == ["disk vm"]


@pytest.mark.parametrize(("action", "left"), [("DELETE", []), ("STOP", ["disk vm"])])
def test_run_duration_ends_a_machine_and_stopping_keeps_its_disk(gce: GceCloud, action: str, left: list[str]) -> None:
    insert(gce, instanceTerminationAction=action, **LIMIT)
    gce.clock.advance(3599.0)
    assert len(bills(gce)) == 2
    gce.clock.advance(2.0)
    assert bills(gce) == left


def test_a_termination_time_is_absolute(gce: GceCloud) -> None:
    when = datetime.fromtimestamp(START + 600, UTC).isoformat()
    insert(gce, instanceTerminationAction="DELETE", terminationTime=when)
    gce.clock.advance(599.0)
    assert len(bills(gce)) == 2
    gce.clock.advance(1.0)
    assert bills(gce) == []


def test_a_stopped_machine_loses_its_limit(gce: GceCloud) -> None:
    insert(gce, instanceTerminationAction="DELETE", **LIMIT)
    gce.clock.advance(60.0)
    gce.machines.end(gce.table.of("instances")[0], "STOP")
    gce.clock.advance(7200.0)
    assert bills(gce) == ["disk vm"]


def test_a_preempted_spot_machine_does_what_it_was_told(gce: GceCloud) -> None:
    insert(gce, "kept", provisioningModel="SPOT", instanceTerminationAction="STOP")
    insert(gce, "gone", provisioningModel="SPOT", instanceTerminationAction="DELETE")
    for name in ("kept", "gone"):
        gce.preempt(name)
    assert (status(gce, "kept"), status(gce, "gone")) == ("TERMINATED", "gone")
    assert bills(gce) == ["disk kept"]


def test_a_flex_start_machine_waits_and_ends_after_a_day(gce: GceCloud) -> None:
    insert(gce, provisioningModel="FLEX_START", instanceTerminationAction="DELETE")
    assert status(gce) == "PENDING"
    gce.clock.advance(86399.0)
    assert status(gce) == "RUNNING"
    gce.clock.advance(2.0)
    assert status(gce) == "gone"


def test_the_same_request_id_makes_one_machine_and_one_operation(gce: GceCloud) -> None:
    token = "5f2b1c3e-9f4b-4a55-8a39-0c1d2e3f4a5b"
    names = [send(gce, "POST", f"{ZONE}/instances", body(), requestId=token)[1]["name"] for _ in range(2)]
    assert len(set(names)) == 1
    assert insert(gce)[0] == 409
    zero = "00000000-0000-0000-0000-000000000000"
    assert send(gce, "POST", f"{ZONE}/instances", body("other"), requestId=zero)[0] == 400


def test_a_zone_without_capacity_says_so_in_the_operation(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "no_capacity_later", seconds=300.0)
    code, operation = insert(gce)
    assert (code, operation["status"]) == (200, "RUNNING")
    gce.clock.advance(60.0)
    assert status(gce) == "STAGING"
    gce.clock.advance(241.0)
    done = send(gce, "GET", f"{ZONE}/operations/{operation['name']}")[1]
    assert done["error"]["errors"][0]["code"] == "ZONE_RESOURCE_POOL_EXHAUSTED"
    assert gce.leftovers() == []


def make_group(gce: GceCloud) -> None:
    machine = {**properties(), "machineType": "ct6e-standard-4t"}
    root = "https://www.googleapis.com/compute/v1"
    wish = {"type": "HIGH_THROUGHPUT", "acceleratorTopology": "2x4", "acceleratorTopologyMode": "AUTO_CONNECT"}
    group = {
        "name": "group",
        "baseInstanceName": "group",
        "targetSize": 2,
        "instanceTemplate": f"{root}{REGION}/instanceTemplates/template",
        "resourcePolicies": {"workloadPolicy": f"{root}{REGION}/resourcePolicies/policy"},
    }
    policies, templates = f"{REGION}/resourcePolicies", f"{REGION}/instanceTemplates"
    assert send(gce, "POST", policies, {"name": "policy", "workloadPolicy": wish})[0] == 200
    assert send(gce, "POST", templates, {"name": "template", "properties": machine})[0] == 200
    assert send(gce, "POST", f"{ZONE}/instanceGroupManagers", group)[0] == 200


def test_a_group_replaces_its_machines_until_it_is_deleted(gce: GceCloud) -> None:
    make_group(gce)
    first = gce.table.of("instances")[0]["name"]
    send(gce, "DELETE", f"{ZONE}/instances/{first}")
    assert status(gce, first) == "gone"
    assert len(gce.table.of("instances")) == 2
    send(gce, "DELETE", f"{ZONE}/instanceGroupManagers/group")
    send(gce, "GET", f"{ZONE}/instanceGroupManagers/group")
    assert bills(gce) == []


@pytest.mark.parametrize("path", ["instanceTemplates/template", "resourcePolicies/policy"])
def test_what_a_group_uses_cannot_be_deleted(gce: GceCloud, path: str) -> None:
    make_group(gce)
    code, document = send(gce, "DELETE", f"{REGION}/{path}")
    assert (code, document["error"]["errors"][0]["reason"]) == (400, "resourceInUseByAnotherResource")
    send(gce, "DELETE", f"{ZONE}/instanceGroupManagers/group")
    assert any(path in left for left in gce.leftovers())
    assert send(gce, "DELETE", f"{REGION}/{path}")[0] == 200


def test_lists_have_pages_of_two_and_filters(gce: GceCloud) -> None:
    for number in range(5):
        insert(gce, f"vm-{number}")
    path = f"/projects/{PROJECT}/aggregated/instances"
    found, token = [], ""
    for _ in range(3):
        page = send(gce, "GET", path, filter="labels.a=b", **({"pageToken": token} if token else {}))[1]
        found += [item["name"] for part in page["items"].values() for item in part.get("instances", [])]
        token = page.get("nextPageToken", "")
    assert (sorted(found), token) == ([f"vm-{number}" for number in range(5)], "")
    none = send(gce, "GET", path, filter="labels.none:*")[1]["items"]
    assert all("instances" not in part for part in none.values())
    assert send(gce, "GET", path, filter="what ever")[0] == 400


def test_a_stale_list_does_not_show_what_a_get_shows(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "stale", seconds=60.0)
    insert(gce)
    assert status(gce) != "gone"
    assert send(gce, "GET", f"{ZONE}/instances")[1]["items"] == []
    gce.clock.advance(61.0)
    assert len(send(gce, "GET", f"{ZONE}/instances")[1]["items"]) == 1


def test_a_delete_refused_early_or_late_deletes_nothing(gce: GceCloud) -> None:
    insert(gce)
    codes = []
    for _ in range(2):
        gce.faults.add("instances.delete", "refused")
        codes.append(send(gce, "DELETE", f"{ZONE}/instances/vm")[0])
    assert sorted(codes) == [200, 400]
    assert status(gce) != "gone"
    operations = send(gce, "GET", f"{ZONE}/operations", filter="operationType=delete")[1]["items"]
    assert [operation["error"]["errors"][0]["code"] for operation in operations] == ["RESOURCE_NOT_READY"]


def test_nothing_that_only_the_fake_knows_is_answered(gce: GceCloud) -> None:
    make_group(gce)
    for path in ("instances", "instanceGroupManagers", "operations"):
        document = send(gce, "GET", f"{ZONE}/{path}")[1]
        assert '"_' not in json.dumps(document)


def test_the_published_schemas_are_there_to_be_strict_by(gce: GceCloud) -> None:
    assert {"Instance", "InstanceTemplate", "InstanceGroupManager", "ResourcePolicy"} <= set(schemas())


def test_every_fault_is_at_a_call_that_clients_make(gce: GceCloud) -> None:
    asked = {
        route(method, f"/compute/v1{path}").call
        for collection in KINDS
        for folder in (f"{ZONE}/{collection}", f"{REGION}/{collection}")
        for method, path in [
            *[("POST", folder), ("GET", f"{folder}/x"), ("DELETE", f"{folder}/x"), ("GET", f"{folder}/x/listErrors")],
            *[("GET", f"/projects/p/aggregated/{collection}"), ("GET", "/projects/p/aggregated/operations")],
            ("GET", f"{ZONE}/operations"),
        ]
    }
    assert {call for call, _ in FAULT_TABLE} <= asked
