"""The fake RunPod is as strict and as expensive as the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.runpod import KEY, RunpodCloud
from cloudtrain.simulator.runpod.validation import data, failures
from tests.patience import PATIENCE_S

POD = {"name": "ct-x", "image": "python:3.12-slim", "cpu": {"id": "cpu5c", "vcpuCount": 2}}
GPU = {"id": "AMD Instinct MI300X OAM", "count": 1}


@pytest.fixture
def cloud() -> Iterator[RunpodCloud]:
    """A fake RunPod whose clock stands still."""
    cloud = RunpodCloud(Clock(1.79e9))
    yield cloud
    cloud.stop()


def ask(cloud: RunpodCloud, method: str, path: str, body: Any = None, key: str = KEY) -> requests.Response:
    """One call."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {key}"}
        return session.request(method, cloud.url + path, json=body, headers=headers, timeout=PATIENCE_S)


def make(cloud: RunpodCloud, **changes: Any) -> dict[str, Any]:
    """A new pod's document."""
    reply = ask(cloud, "POST", "/v2/pods", {**POD, **changes})
    assert reply.status_code == 201, reply.text
    document: dict[str, Any] = reply.json()
    return document


def test_an_unknown_property_is_refused_with_422(cloud: RunpodCloud) -> None:
    """A body outside the contract makes nothing, and every failure is listed."""
    reply = ask(cloud, "POST", "/v2/pods", {**POD, "terminateAfter": 3600, "disk": "20"})
    assert reply.status_code == 422
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert sorted(reply.json()["errors"]) == ["body.disk: not of type integer", "body.terminateAfter: unknown property"]
    assert cloud.leftovers() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu": GPU},
        {"cpu": {"id": "cpu5c", "vcpuCount": 3}},
        {"disk": 31},  # 15 GB for each of two vCPUs
        {"cpu": {"id": "cpu9z", "vcpuCount": 2}},
        {"dataCenterIds": ["EU-XX-9"]},
        {"mounts": {"persistent": {"size": 20, "path": "/data"}}},
        {"env": {f"E{number}": "" for number in range(51)}},
    ],
)
def test_a_broken_rule_is_400_like_no_capacity(cloud: RunpodCloud, changes: dict[str, Any]) -> None:
    """What the contract allows and a rule forbids looks exactly like no capacity."""
    broken = ask(cloud, "POST", "/v2/pods", {**POD, **changes})
    cloud.stock = False
    nothing = ask(cloud, "POST", "/v2/pods", POD)
    assert (broken.status_code, nothing.status_code) == (400, 400)
    assert broken.json().keys() == nothing.json().keys() == {"title", "status", "detail"}
    assert cloud.leftovers() == []


@pytest.mark.parametrize("more", [{"gpu": {**GPU, "minCudaVersion": "12.8"}}, {"gpu": GPU, "globalNetworking": True}])
def test_an_amd_pod_with_an_nvidia_wish_is_refused(cloud: RunpodCloud, more: dict[str, Any]) -> None:
    """CUDA versions and global networking make the MI300X disappear."""
    body = {"name": "ct-x", "image": "rocm", **more}
    assert ask(cloud, "POST", "/v2/pods", body).status_code == 400


def test_the_same_post_twice_makes_two_pods(cloud: RunpodCloud) -> None:
    """Names are not unique, and there is no request id."""
    assert make(cloud)["id"] != make(cloud)["id"]
    assert len(cloud.ledger.running()) == 2


def test_lists_come_two_at_a_time(cloud: RunpodCloud) -> None:
    """A client that reads the first page alone overlooks pods; deleting on the way skips none."""
    made = [make(cloud)["id"] for _ in range(5)]
    found, cursor = [], ""
    while True:
        reply = ask(cloud, "GET", f"/v2/pods{cursor and '?cursor=' + cursor}").json()
        assert len(reply["pods"]) <= 2
        found += [pod["id"] for pod in reply["pods"]]
        ask(cloud, "DELETE", f"/v2/pods/{found[0]}")
        if not reply["pagination"]["hasNextPage"]:
            break
        cursor = reply["pagination"]["nextCursor"]
    assert found == made


def test_wrong_keys_are_401_and_pods_keys_open_their_pod(cloud: RunpodCloud) -> None:
    """A pod's own key deletes its pod, and nothing else."""
    one, other = make(cloud), make(cloud)
    own = cloud.pod_environment(one["id"])["RUNPOD_API_KEY"]
    assert ask(cloud, "GET", "/v2/pods", key="wrong").status_code == 401
    assert ask(cloud, "GET", "/v2/pods", key=own).status_code == 403
    assert ask(cloud, "DELETE", f"/v2/pods/{other['id']}", key=own).status_code == 403
    assert ask(cloud, "DELETE", f"/v2/pods/{one['id']}", key=own).status_code == 204
    assert ask(cloud, "GET", f"/v2/pods/{one['id']}").status_code == 404


def test_a_stopped_and_a_broken_pod_go_on_costing(cloud: RunpodCloud) -> None:
    """EXITED costs its disk, ERROR everything."""
    stopped, broken = make(cloud, disk=30), make(cloud)
    assert ask(cloud, "POST", f"/v2/pods/{stopped['id']}/action", {"action": "stop"}).json()["status"] == "EXITED"
    cloud.pods.end_container(broken["id"], "ERROR")
    before = cloud.ledger.usd()
    cloud.clock.advance(3600)
    assert len(cloud.ledger.running()) == 2
    assert cloud.ledger.usd() - before == pytest.approx(30 * 0.1 / 730 + 2 * 0.035 + 20 * 0.1 / 730)
    assert ask(cloud, "POST", f"/v2/pods/{broken['id']}/action", {"action": "restart"}).status_code == 409


def test_a_container_that_exits_is_started_again_and_billed(cloud: RunpodCloud) -> None:
    """The end of a process is not the end of its cost."""
    pod = make(cloud)
    cloud.pods.exit_process(pod["id"])
    assert ask(cloud, "GET", f"/v2/pods/{pod['id']}").json()["status"] == "RUNNING"
    assert len(cloud.ledger.running()) == 1


def test_members_of_a_cluster_are_hidden_and_go_with_it(cloud: RunpodCloud) -> None:
    """They cost, the list of pods has them only when asked, and only the cluster can be deleted."""
    compute = {"gpuTypeId": GPU["id"], "gpuCountPerPod": 8, "podCount": 3}
    cluster = ask(cloud, "POST", "/v2/clusters", {"name": "ct-c", "type": "TRAINING", "compute": compute}).json()
    assert ask(cloud, "GET", "/v2/pods").json()["pods"] == []
    members = ask(cloud, "GET", "/v2/pods?includeClusterPods=true").json()["pods"]
    assert members[0]["cluster"]["id"] == cluster["id"]
    assert ask(cloud, "DELETE", f"/v2/pods/{members[0]['id']}").status_code == 409
    assert len(cloud.ledger.running()) == 3
    assert ask(cloud, "DELETE", f"/v2/clusters/{cluster['id']}").status_code == 204
    assert cloud.leftovers() == []


def test_a_volume_costs_until_it_is_deleted(cloud: RunpodCloud) -> None:
    """A network volume outlives every pod."""
    body = {"name": "ct-v", "size": 100, "dataCenter": "EU-RO-1"}
    volume = ask(cloud, "POST", "/v2/network-volumes", body).json()
    cloud.clock.advance(730 * 3600)
    assert cloud.ledger.usd() == pytest.approx(7.0)
    assert ask(cloud, "DELETE", f"/v2/network-volumes/{volume['id']}").status_code == 204
    assert cloud.leftovers() == []


def test_free_leftovers_are_left_over_too(cloud: RunpodCloud) -> None:
    """A template and a registry credential cost nothing and are listed; the password is not."""
    ask(cloud, "POST", "/v2/templates", {"name": "ct-t", "image": "x"})
    shown = ask(cloud, "POST", "/v2/registries", {"name": "ct-r", "username": "u", "password": "p"}).json()
    assert shown.keys() == {"id", "name"}
    assert len(cloud.leftovers()) == 2
    make(cloud, registry=shown["id"])
    assert ask(cloud, "DELETE", f"/v2/registries/{shown['id']}").status_code == 400


def test_the_credit_is_a_hard_cap(cloud: RunpodCloud) -> None:
    """Less than an hour of credit is 402; when it is used up every pod is gone."""
    cloud.balance = 0.05
    assert ask(cloud, "POST", "/v2/pods", POD).status_code == 402
    cloud.balance = 0.2
    make(cloud)
    cloud.clock.advance(3 * 3600)
    assert cloud.ledger.running() == []
    assert cloud.ledger.usd() == pytest.approx(0.2)


def test_a_request_that_is_performed_late_makes_a_pod_late(cloud: RunpodCloud) -> None:
    """The client gets no answer, looks, finds nothing, and the pod comes afterwards."""
    cloud.faults.add("createPod", "late", seconds=30)
    with pytest.raises(requests.ConnectionError):
        ask(cloud, "POST", "/v2/pods", POD)
    assert ask(cloud, "GET", "/v2/pods").json()["pods"] == []
    cloud.clock.advance(31)
    assert len(ask(cloud, "GET", "/v2/pods").json()["pods"]) == 1


def test_a_pod_that_is_given_up_later_goes_on_costing(cloud: RunpodCloud) -> None:
    """Accepted, then ERROR, and billed."""
    cloud.faults.add("createPod", "no_capacity_later", seconds=5)
    pod = make(cloud)
    cloud.clock.advance(6)
    assert ask(cloud, "GET", f"/v2/pods/{pod['id']}").json()["status"] == "ERROR"
    assert len(cloud.ledger.running()) == 1


def test_a_fresh_account_knows_nothing_of_the_old_one(cloud: RunpodCloud) -> None:
    """What was on its way in the old account does not arrive in the new one."""
    make(cloud, env={"CLOUDTRAIN_DEADLINE": "1790000010"})
    cloud.faults.add("createPod", "late", seconds=5)
    with pytest.raises(requests.ConnectionError):
        ask(cloud, "POST", "/v2/pods", POD)
    cloud.reset()
    make(cloud)
    cloud.clock.advance(3600)
    assert len(cloud.ledger.running()) == 1
    assert cloud.ledger.usd() == pytest.approx(2 * 0.035 + 20 * 0.1 / 730)


def test_throttling_says_how_long(cloud: RunpodCloud) -> None:
    """A 429 has Retry-After."""
    cloud.faults.add("listPods", "throttled")
    reply = ask(cloud, "GET", "/v2/pods")
    assert (reply.status_code, reply.headers["Retry-After"]) == (429, "1")


def test_the_bill_is_what_the_ledger_says(cloud: RunpodCloud) -> None:
    """Records of one pod add up to its cost."""
    pod = make(cloud)
    make(cloud)
    cloud.clock.advance(7200)
    bill = ask(cloud, "GET", f"/v2/billing/pods?podId={pod['id']}").json()
    late = 300 / 7200  # it is billed every five minutes
    assert bill["metadata"]["totals"]["totalAmount"] == pytest.approx(cloud.ledger.usd() / 2, rel=late)
    hourly = ask(cloud, "GET", f"/v2/billing/pods?podId={pod['id']}&bucketSize=hour&lastN=4").json()
    assert hourly["metadata"]["totals"] == pytest.approx(bill["metadata"]["totals"])
    assert len(hourly["records"]) == 3
    parts = ("gpuAmount", "cpuAmount", "diskAmount")
    assert all(sum(each[name] for name in parts) == pytest.approx(each["totalAmount"]) for each in hourly["records"])


@pytest.mark.parametrize(
    "query",
    ["pod=x", "bucketSize=minute", "lastN=0", "lastN=3&startTime=2026-01-01T00:00:00Z", "startTime=yesterday",
     "startTime=2026-01-01T00:00:00", "startTime=2026-01-02T00:00:00Z&endTime=2026-01-01T00:00:00Z"],
)  # fmt: skip
def test_a_question_about_the_bill_of_no_contract_is_refused(cloud: RunpodCloud, query: str) -> None:
    assert ask(cloud, "GET", f"/v2/billing/pods?{query}").status_code == 400


VALUES = st.one_of(st.text("ab", max_size=3), st.integers(-1, 12), st.booleans(), st.none(), st.just(["a"]))
NAMES = st.sampled_from(["name", "image", "disk", "cloud", "env", "ports", "gpu", "count", "id", "registry", "other"])
BODIES = st.dictionaries(NAMES, st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=3)), max_size=5)


@given(BODIES)
def test_our_small_validator_agrees_with_a_whole_one(body: dict[str, Any]) -> None:
    """It refuses exactly what a full implementation of JSON Schema refuses."""
    schema = data("requests")["createPod"]
    ours = not list(failures(schema, body, "body"))
    assert ours == jsonschema.Draft202012Validator(schema).is_valid(json.loads(json.dumps(body)))
