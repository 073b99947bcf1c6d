"""Cloud TPU API machines against the fake: made once, found again, judged and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module

import pytest

from cloudtrain.errors import NoCapacity, NotFound, Permission, Quota, Rejected, Unavailable, Unknown
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.tpu import TpuCloud
from tests.patience import TIMING
from tests.stacks.gcp.tpu_world import (
    FLEX,
    HOUR,
    PROJECT,
    SPOT,
    START,
    arm,
    delete,
    find,
    make,
    parts,
    plan_of,
    status,
    tpu,
)


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[TpuCloud]:
    made = TpuCloud(Clock(START))
    yield made
    made.stop()


@pytest.fixture
def cloud(one_cloud: TpuCloud, monkeypatch: pytest.MonkeyPatch) -> TpuCloud:
    one_cloud.reset(Clock(START))
    for name, value in one_cloud.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    return one_cloud


@pytest.mark.parametrize("line", [SPOT, FLEX, SPOT.replace(offer="v4-8", zone="us-central2-b", market="on_demand")])
def test_a_machine_is_made_becomes_ready_and_goes_away_with_its_time_limit(cloud, line):
    made = parts(line)
    for resource in made.values():
        seen = make(resource)
    assert seen.state == "building"
    machine = made["machine"]
    cloud.clock.advance(10)
    ready = status(machine, seen.id)
    assert ready.state == "ready"
    assert ready.outputs["workers"][0]["outside"].startswith("203.0.113.")
    assert len(cloud.ledger.running()) == 1
    for resource in reversed(made.values()):
        for found in () if tpu.DRIVERS[resource.kind].shared else find(resource):
            delete(resource, found.id)
    assert status(machine, seen.id).state == "deleting"
    cloud.clock.advance(10)
    with pytest.raises(NotFound):
        status(machine, seen.id)
    assert cloud.leftovers() == []
    assert list(tpu.list_owned(None, None)) == []


def test_a_flex_machine_ends_at_the_deadline_and_its_request_is_still_listed_as_free(cloud):
    machine = parts(FLEX)["machine"]
    seen = make(machine)
    cloud.clock.advance(4 * HOUR + 60)
    assert cloud.ledger.running() == []
    assert status(machine, seen.id).state == "ended"
    (owned,) = tpu.list_owned(None, None)
    assert (owned.kind, owned.bills, owned.expires) == ("flex_resource", False, START + 4 * HOUR)
    tpu.DRIVERS[owned.kind].delete(owned.inputs, owned.id)
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_v5e_on_demand_gets_a_time_limit_of_its_own_where_flex_start_is_not(cloud):
    assert list(parts(FLEX)) == ["machine"]
    elsewhere = parts(FLEX.replace(zone="europe-west4-b"))
    assert list(elsewhere) == ["time-limit-queue", "time-limit", "machine"]
    assert [elsewhere["time-limit"].inputs["place"][key] for key in ("zone", "tasks")] == [
        "europe-west4-b",
        "europe-west1",
    ]
    for resource in elsewhere.values():
        make(resource)
    cloud.clock.advance(4 * HOUR + 60)
    assert cloud.leftovers() == []


@pytest.mark.parametrize("line", [SPOT, FLEX])
def test_a_repeat_that_arrives_after_the_delete_makes_nothing_new(cloud, line):
    machine = parts(line)["machine"]
    delete(machine, make(machine).id)
    cloud.clock.advance(10)
    make(machine)
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_a_flex_request_beyond_seven_days_is_refused_with_what_to_do(cloud):
    with pytest.raises(Rejected) as refused:
        make(parts(FLEX, hours=200)["machine"])
    assert "--max-hours 167" in refused.value.hint
    assert cloud.leftovers() == []


@pytest.mark.parametrize(("line", "call"), [(SPOT, "Tpu.CreateQueuedResource"), (FLEX, "queuedResources.create")])
@pytest.mark.parametrize("kind", ["lost_reply", "dropped", "late"])
def test_a_create_without_an_answer_is_unknown_and_the_same_create_again_makes_one_machine(cloud, line, call, kind):
    machine = parts(line)["machine"]
    cloud.faults.add(call, kind, seconds=20)
    with pytest.raises(Unknown):
        make(machine)
    assert bool(find(machine)) is (kind == "lost_reply")
    assert make(machine).state == "building"
    cloud.clock.advance(60)
    assert len(cloud.ledger.running()) == 1
    assert len(cloud.ledger.entries) == 1


@pytest.mark.parametrize(("line", "call"), [(SPOT, "Tpu.CreateQueuedResource"), (FLEX, "queuedResources.create")])
@pytest.mark.parametrize(
    ("kind", "error"),
    [("no_capacity", NoCapacity), ("quota", Quota), ("permission", Permission), ("throttled", Unavailable)],
)
def test_a_refused_create_says_why_and_leaves_nothing(cloud, line, call, kind, error):
    machine = parts(line)["machine"]
    cloud.faults.add(call, kind)
    with pytest.raises(error) as refused:
        make(machine)
    assert type(refused.value) is error
    assert find(machine) == []
    assert cloud.leftovers() == []


def test_a_request_that_finds_no_capacity_later_is_found_judged_and_deleted(cloud):
    made = parts(SPOT)
    arm(made)
    cloud.faults.add("Tpu.CreateQueuedResource", "no_capacity_later", seconds=40)
    seen = make(made["machine"])
    cloud.clock.advance(60)
    with pytest.raises(NoCapacity):
        status(made["machine"], seen.id)
    assert [s.state for s in find(made["machine"])] == ["ended"]
    delete(made["machine"], seen.id)
    cloud.clock.advance(10)
    assert find(made["machine"]) == []


def test_a_request_that_waits_past_its_valid_until_time_is_no_capacity(cloud):
    machine = parts(SPOT)["machine"]
    cloud.faults.add("Tpu.CreateQueuedResource", "slow", seconds=10 * HOUR)
    seen = make(machine)
    assert status(machine, seen.id).state == "building"
    cloud.clock.advance(4 * HOUR + 1)
    with pytest.raises(NoCapacity):
        status(machine, seen.id)
    cloud.clock.advance(10 * HOUR)
    assert cloud.ledger.entries == []


@pytest.mark.parametrize(("offer", "hosts"), [("v5litepod-8", 1), ("v5litepod-16", 4), ("v4-8", 1), ("v3-32", 4)])
def test_every_host_of_a_slice_is_sent_its_job(cloud, monkeypatch, offer, hosts):
    """Its address stands in the machine's script, and not in what the journal keeps."""
    boot = import_module("cloudtrain.stacks._lifecycle.boot")
    monkeypatch.setattr(boot, "ticket_url", lambda given: "http://ticket" if given.get("boot") else "")
    plan = replace(plan_of(SPOT.replace(offer=offer)), boot={"state": "s3://b", "ticket": "t", "signed_at": 1.0})
    inputs = {r.role: r for r in tpu.resources(plan, PROJECT)}["machine"].inputs
    script = import_module("cloudtrain.stacks.gcp.tpu_machine")._request(inputs)["tpu"]["nodeSpec"][0]["node"][
        "metadata"
    ]
    assert tpu.hosts(offer) == hosts
    assert "export CLOUDTRAIN_TICKET='http://ticket'" in script["startup-script"]
    assert "http://ticket" not in str(inputs)


def test_a_preempted_machine_has_ended_and_still_holds_its_name_until_deleted(cloud):
    machine = parts(SPOT)["machine"]
    seen = make(machine)
    cloud.clock.advance(10)
    cloud.tpu.preempt(status(machine, seen.id).outputs["node"])
    assert status(machine, seen.id).state == "ended"
    assert [s.state for s in find(machine)] == ["ended"]
    delete(machine, seen.id)
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_a_node_that_lost_its_queued_resource_is_found_listed_and_deleted(cloud):
    machine = parts(SPOT)["machine"]
    seen = make(machine)
    cloud.clock.advance(10)
    del cloud.tpu.queued[seen.id]
    (node,) = find(machine)
    assert (node.state, node.id) == ("ready", seen.id.replace("queuedResources", "nodes"))
    (owned,) = tpu.list_owned(None, None)
    assert (owned.id, owned.kind, owned.bills) == (node.id, "queued_resource", True)
    delete(machine, seen.id)  # by the id that the journal knows
    cloud.clock.advance(10)
    assert cloud.leftovers() == []


def test_an_active_request_whose_node_is_gone_has_ended(cloud):
    machine = parts(SPOT)["machine"]
    seen = make(machine)
    cloud.clock.advance(10)
    cloud.tpu.nodes.clear()
    assert status(machine, seen.id).state == "ended"


def test_a_delete_that_is_refused_in_the_present_state_can_be_repeated(cloud):
    machine = parts(SPOT)["machine"]
    seen = make(machine)
    cloud.faults.add("Tpu.DeleteQueuedResource", "refused")
    with pytest.raises(Unavailable):
        delete(machine, seen.id)
    delete(machine, seen.id)
    delete(machine, seen.id)  # on its way out: taken before
    cloud.clock.advance(10)
    with pytest.raises(NotFound):
        delete(machine, seen.id)


def test_somebody_elses_machine_under_our_name_is_not_ours(cloud):
    machine = parts(SPOT)["machine"]
    foreign = {**machine.inputs, "tags": {"cloudtrain-key": "0badc0de"}, "request_id": ""}
    seen = make(machine._replace(inputs=foreign))
    assert find(machine) == []
    with pytest.raises(Rejected):
        make(machine)
    assert status(machine, seen.id).state == "building"


def test_a_further_attempt_takes_the_next_zone_and_other_names():
    first, second, third = (parts(SPOT, attempt=number)["machine"].inputs for number in (1, 2, 3))
    assert [i["place"]["zone"] for i in (first, second, third)] == ["us-west4-a", "us-west4-b", "us-west4-a"]
    assert len({i["name"] for i in (first, second, third)} | {i["request_id"] for i in (first, second, third)}) == 6


@pytest.mark.parametrize(
    ("offer", "market", "zone", "served"),
    [
        ("v5litepod-16", "spot", "us-west4-a", True),
        ("v2-8", "on_demand", "us-central1-b", True),
        ("v6e-8", "spot", "us-east5-a", False),
        ("v5p-8", "spot", "us-east5-a", False),
        ("v5litepod-4", "owned", "us-west4-a", False),
        ("v4-8", "spot", "", False),
    ],
)
def test_only_slices_of_this_api_are_served(offer, market, zone, served):
    assert tpu.serves(SPOT.key._replace(offer=offer, market=market, zone=zone)) is served


def test_no_secret_is_in_what_is_kept_or_sent_as_a_name(cloud):
    made = parts(SPOT)
    arm(made)
    seen = make(made["machine"])
    cloud.clock.advance(10)
    kept = repr([r.inputs for r in made.values()]) + repr(status(made["machine"], seen.id))
    assert "PLANTED-SECRET" not in kept


def test_a_zone_that_lacks_the_slice_is_no_capacity_so_that_the_next_one_is_tried(cloud):
    made = parts(SPOT.replace(zone="us-central2-b"))
    with pytest.raises(NoCapacity):
        make(made["machine"])


@pytest.mark.parametrize(
    ("code", "words", "error"),
    [
        (8, "There are not enough resources to fulfil the request.", NoCapacity),
        (8, "Quota limit 'TPUV5sPreemptible' has been exceeded.", Quota),
        (13, "Internal error encountered.", NoCapacity),
        (7, "The caller does not have permission.", Permission),
        (3, "Invalid runtime version.", Rejected),
    ],
)
def test_the_reason_of_a_failed_request_is_told_as_what_it_means(cloud, code, words, error):
    machine = parts(SPOT)["machine"]
    seen = make(machine)
    record = cloud.tpu.queued[seen.id]
    record.state, record.error = "FAILED", {"code": code, "message": words}
    with pytest.raises(error) as reason:
        status(machine, seen.id)
    assert type(reason.value) is error


def test_a_request_that_reached_nobody_is_known_to_have_made_nothing(cloud, monkeypatch):
    monkeypatch.setenv("CLOUDTRAIN_TPU_ENDPOINT", "127.0.0.1:9")
    with pytest.raises(Unavailable):
        make(parts(SPOT)["machine"])


@pytest.mark.parametrize("code", ["INTERNAL", "DEADLINE_EXCEEDED", "UNAVAILABLE", "UNKNOWN", "CANCELLED"])
def test_a_doubtful_grpc_status_is_unknown_for_a_create_and_unavailable_for_a_read(code):
    provider_error = import_module("cloudtrain.stacks.gcp.tpu_client").provider_error
    assert type(provider_error(code, "Socket closed", True)) is Unknown
    assert type(provider_error(code, "Socket closed", False)) is Unavailable
