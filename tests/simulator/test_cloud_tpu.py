"""The fake Cloud TPU API and Cloud Tasks are as strict and as forgetful as the real ones."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud.tpu_v2 import TpuClient
from google.cloud.tpu_v2.services.tpu.transports import TpuGrpcTransport

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.tpu import FAULT_TABLE, TOKEN, TpuCloud
from cloudtrain.simulator.gcp.tpu.catalog import PROJECT, WORKER
from cloudtrain.simulator.gcp.tpu.rest_api import ROUTES
from tests.patience import PATIENCE_S

START = 1_900_000_000.0
ZONE = f"projects/{PROJECT}/locations/us-west4-a"
REGION = f"projects/{PROJECT}/locations/us-central1"
QUEUE = f"{REGION}/queues/cloudtrain"


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[TpuCloud]:
    made = TpuCloud(Clock(START))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def client(one_cloud: TpuCloud) -> TpuClient:
    return TpuClient(transport=TpuGrpcTransport(channel=grpc.insecure_channel(one_cloud.endpoint)))


@pytest.fixture
def cloud(one_cloud: TpuCloud) -> TpuCloud:
    one_cloud.reset(Clock(START))
    return one_cloud


def node(**more: Any) -> dict[str, Any]:
    return {"accelerator_type": "v5litepod-4", "runtime_version": "v2-alpha-tpuv5-lite", **more}


def ask(
    client: TpuClient, name: str = "a", request_id: str = "", body: dict[str, Any] | None = None, parent: str = ZONE
):
    spec = {"parent": parent, "node_id": name, "node": body or node()}
    request = {
        "parent": parent,
        "queued_resource_id": name,
        "queued_resource": {"spot": {}, "tpu": {"node_spec": [spec]}},
        "request_id": request_id,
    }
    return client.create_queued_resource(request=request, retry=None, timeout=PATIENCE_S)


def rest(cloud: TpuCloud, method: str, path: str, body: Any = None, token: str = TOKEN) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(cloud.url + path, data, headers, method=method)) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def flex(**more: Any) -> dict[str, Any]:
    made = {"acceleratorType": "v5litepod-4", "runtimeVersion": "v2-alpha-tpuv5-lite"}
    return {
        "tpu": {"nodeSpec": [{"parent": ZONE, "nodeId": "a", "node": made}]},
        "provisioningModel": "FLEX_START",
        "runDuration": {"maxRunDuration": "3600s"},
        **more,
    }


def task(name: str = "t", **more: Any) -> dict[str, Any]:
    request = {
        "url": f"https://tpu.googleapis.com/v2/{ZONE}/queuedResources/a?force=true",
        "httpMethod": "DELETE",
        "oauthToken": {"serviceAccountEmail": WORKER},
    }
    return {"task": {"name": f"{QUEUE}/tasks/{name}", "httpRequest": request, **more}}


def queue(cloud: TpuCloud) -> None:
    assert rest(cloud, "POST", f"/v2/{REGION}/queues", {"name": QUEUE})[0] == 200


def test_a_request_costs_money_from_its_node_to_the_delete(cloud, client):
    ask(client)
    path = f"{ZONE}/queuedResources/a"
    states = [client.get_queued_resource(name=path).state.state.name]
    assert cloud.ledger.running() == []
    for _ in range(2):
        cloud.clock.advance(1)
        states.append(client.get_queued_resource(name=path).state.state.name)
    assert states == ["WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    assert client.get_node(name=f"{ZONE}/nodes/a").state.name == "READY"
    with pytest.raises(exceptions.FailedPrecondition):
        client.delete_queued_resource(name=path)
    client.delete_queued_resource(request={"name": path, "force": True})
    assert len(cloud.ledger.running()) == 1
    cloud.clock.advance(2)
    with pytest.raises(exceptions.NotFound):
        client.get_queued_resource(name=path)
    assert cloud.leftovers() == []


def test_a_plain_nodes_operation_ends_when_it_is_ready(cloud, client):
    made = client.create_node(parent=ZONE, node_id="n", node=node())
    assert not made.done()
    cloud.clock.advance(5)
    assert client.transport.operations_client.get_operation(made.operation.name).done
    client.delete_node(name=f"{ZONE}/nodes/n")
    cloud.clock.advance(5)
    assert cloud.leftovers() == []


def test_a_name_or_request_id_makes_one_thing(cloud, client):
    first = ask(client, request_id="1")
    assert ask(client, request_id="1").operation.name == first.operation.name
    with pytest.raises(exceptions.InvalidArgument):
        ask(client, name="b", request_id="1")
    with pytest.raises(exceptions.AlreadyExists):
        ask(client, request_id="2")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (node(labels={"Upper": "x"}), exceptions.InvalidArgument),
        (node(labels={"run": "a b"}), exceptions.InvalidArgument),
        (node(accelerator_type="v5litepod-3"), exceptions.InvalidArgument),
        (node(accelerator_type="v4-8", runtime_version="tpu-ubuntu2204-base"), exceptions.NotFound),
        (node(runtime_version="tpu-ubuntu2204-base"), exceptions.InvalidArgument),
    ],
)
def test_what_the_api_does_not_take_is_refused(cloud, client, body, error):
    with pytest.raises(error):
        ask(client, body=body)
    assert cloud.leftovers() == []


def test_lists_over_all_zones_are_refused_and_pages_hold_two(cloud, client):
    for name in "abc":
        ask(client, name=name)
    with pytest.raises(exceptions.InvalidArgument):
        client.list_queued_resources(parent=f"projects/{PROJECT}/locations/-")
    pages = list(client.list_queued_resources(parent=ZONE).pages)
    assert [len(page.queued_resources) for page in pages] == [2, 1]
    assert list(client.list_queued_resources(parent=ZONE.replace("west4-a", "west4-b"))) == []


def test_what_failed_still_holds_its_name_and_the_quota(cloud, client):
    cloud.tpu.chips_per_zone = 4
    cloud.faults.add("Tpu.CreateQueuedResource", "no_capacity_later", seconds=5)
    ask(client)
    cloud.clock.advance(10)
    failed = client.get_queued_resource(name=f"{ZONE}/queuedResources/a").state
    assert (failed.state.name, failed.failed_data.error.code) == ("FAILED", 8)
    with pytest.raises(exceptions.AlreadyExists):
        ask(client)
    with pytest.raises(exceptions.ResourceExhausted, match="Quota limit"):
        ask(client, name="b")
    client.delete_queued_resource(name=f"{ZONE}/queuedResources/a")
    cloud.clock.advance(5)
    ask(client, name="b")


@pytest.mark.parametrize(
    ("kind", "error", "performed_at_once", "performed_later"),
    [
        ("lost_reply", exceptions.ServiceUnavailable, True, True),
        ("dropped", exceptions.ServiceUnavailable, False, False),
        ("late", exceptions.ServiceUnavailable, False, True),
        ("throttled", exceptions.ResourceExhausted, False, False),
        ("unavailable", exceptions.ServiceUnavailable, False, False),
    ],
)
def test_the_network_loses_requests_and_replies_of_grpc(cloud, client, kind, error, performed_at_once, performed_later):
    cloud.faults.add("Tpu.CreateQueuedResource", kind, seconds=30)
    with pytest.raises(error):
        ask(client)
    assert bool(cloud.tpu.queued) is performed_at_once
    cloud.clock.advance(31)
    assert bool(cloud.tpu.queued) is performed_later


def test_a_lost_reply_hides_a_refusal_too(cloud, client):
    ask(client)
    cloud.faults.add("Tpu.CreateQueuedResource", "lost_reply")
    with pytest.raises(exceptions.ServiceUnavailable):
        ask(client)


def test_a_stale_list_lacks_what_a_get_shows(cloud, client):
    cloud.faults.add("Tpu.CreateQueuedResource", "stale", seconds=30)
    ask(client)
    cloud.clock.advance(5)
    assert client.get_node(name=f"{ZONE}/nodes/a").name
    assert list(client.list_queued_resources(parent=ZONE)) == list(client.list_nodes(parent=ZONE)) == []
    cloud.clock.advance(30)
    assert len(list(client.list_nodes(parent=ZONE))) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"unknownField": 1},
        {"provisioningModel": "SOMETIMES"},
        {"provisioningModel": "STANDARD"},  # with a run duration
        {"runDuration": {"maxRunDuration": "soon"}},
        {"runDuration": {"maxRunDuration": "60s"}},
        {"runDuration": {"terminationTime": "2100-01-01T00:00:00Z"}},
        {"spot": {}},
        {"queueingPolicy": {"validUntilTime": "2020-01-01T00:00:00Z"}},
    ],
)
def test_a_flex_request_against_schema_or_rules_is_a_400(cloud, wrong):
    path = f"/v2alpha1/{ZONE}/queuedResources?queuedResourceId=a"
    status, document = rest(cloud, "POST", path, flex(**wrong))
    assert (status, document["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert rest(cloud, "POST", path, flex())[0] == 200


def test_flex_start_is_refused_where_it_is_not(cloud):
    zone = ZONE.replace("west4-a", "west4-b")
    body = json.loads(json.dumps(flex()).replace(ZONE, zone))
    assert rest(cloud, "POST", f"/v2alpha1/{zone}/queuedResources?queuedResourceId=a", body)[0] == 400


def test_a_flex_node_is_suspended_after_its_run_duration(cloud, client):
    rest(cloud, "POST", f"/v2alpha1/{ZONE}/queuedResources?queuedResourceId=a&requestId=1", flex())
    cloud.clock.advance(3500)
    assert len(cloud.ledger.running()) == 1
    cloud.clock.advance(200)
    assert cloud.ledger.running() == []
    (left,) = client.list_queued_resources(parent=ZONE)
    assert left.state.state.name == "SUSPENDED"


def test_a_missing_token_or_unknown_parameter_gets_no_answer(cloud):
    assert rest(cloud, "GET", f"/v2alpha1/{ZONE}/nodes", token="other")[0] == 401
    assert rest(cloud, "GET", f"/v2alpha1/{ZONE}/nodes?everything=1")[0] == 400
    assert rest(cloud, "GET", f"/v2alpha1/{ZONE}/nodes?pageSize=5")[0] == 200
    assert rest(cloud, "GET", "/v2alpha1/projects/other/locations")[0] == 403


def test_a_task_needs_a_queue_an_account_and_near_time(cloud):
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task())[0] == 404
    queue(cloud)
    foreign = task()
    foreign["task"]["httpRequest"]["oauthToken"]["serviceAccountEmail"] = "nobody@example.com"
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", foreign)[0] == 403
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task(scheduleTime="2031-01-01T00:00:00Z"))[0] == 400
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task(scheduleTime="2030-03-18T00:00:00Z"))[0] == 200


def test_a_task_fires_by_clock_and_keeps_its_name_taken(cloud, client):
    queue(cloud)
    ask(client)
    cloud.clock.advance(5)
    rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task(scheduleTime="2030-03-17T18:00:00Z"))
    assert rest(cloud, "GET", f"/v2/{QUEUE}/tasks")[1]["tasks"][0]["name"].endswith("/t")
    cloud.clock.advance(3600)
    assert cloud.leftovers() == []
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task())[0] == 409
    cloud.clock.advance(86400)
    assert rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task())[0] == 200


def test_a_task_without_a_target_fails_and_is_dropped(cloud):
    rest(cloud, "POST", f"/v2/{REGION}/queues", {"name": QUEUE, "retryConfig": {"maxAttempts": 3, "minBackoff": "60s"}})
    rest(cloud, "POST", f"/v2/{QUEUE}/tasks", task())
    cloud.clock.advance(1)
    assert len(cloud.tasks.tasks) == 1
    cloud.clock.advance(200)
    assert cloud.tasks.tasks == {}


def test_every_call_of_the_menu_exists(cloud):
    known = {route.call for route in ROUTES} | {f"Tpu.{name}" for name in cloud.rpc.methods} | {"tasks.fire"}
    assert {call for call, _ in FAULT_TABLE} <= known


def test_a_reset_cloud_is_empty_behind_the_same_doors(cloud, client):
    before = cloud.environment()
    ask(client)
    cloud.reset(Clock(START))
    assert cloud.environment() == before
    assert cloud.leftovers() == cloud.calls == []
    ask(client)
    assert cloud.calls == ["Tpu.CreateQueuedResource"]
