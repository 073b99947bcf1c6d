"""Everything of ours in Compute Engine is seen without any record, and a sweep leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cloudtrain.errors import NotFound, Unavailable
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.gcp.compute.resources import Target
from tests.patience import TIMING
from tests.stacks.gcp.gce_world import (
    HOUR,
    ONE_HOST,
    PROCESSOR,
    START,
    TWO_HOSTS,
    inputs_of,
    make,
    owned,
    record,
    sweep,
)


@pytest.fixture(scope="module")
def one_cloud() -> Iterator[GceCloud]:
    made = GceCloud(Clock(START))
    yield made
    made.stop()


@pytest.fixture
def gce(one_cloud: GceCloud, monkeypatch: pytest.MonkeyPatch) -> GceCloud:
    one_cloud.reset(Clock(START))
    for name, value in one_cloud.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    return one_cloud


def test_all_runs_are_seen_in_every_zone_and_on_every_page_with_their_deadline(gce: GceCloud) -> None:
    for number in range(5):
        line = ONE_HOST if number % 2 else PROCESSOR
        make(gce, line, run=f"run-{number}", attempt=number + 1, hours=1.0 + number)
    found = owned()
    assert len({each.run for each in found}) == len({each.inputs["place"]["zone"] for each in found}) + 1 == 5
    assert {each.expires for each in found} == {START + HOUR * (1 + number) for number in range(5)}
    assert all(each.bills and each.console_url for each in found)


def test_one_run_is_seen_without_the_others(gce: GceCloud) -> None:
    for run in ("a", "b"):
        make(gce, TWO_HOSTS, run=run)
    key = inputs_of(ONE_HOST, run="a")["tags"]["cloudtrain-key"]
    assert {each.run for each in owned(key)} == {key}
    assert sorted(each.kind for each in owned(key)) == ["instance_group", "instance_template", "workload_policy"]


@pytest.mark.parametrize("line", [ONE_HOST, TWO_HOSTS, PROCESSOR])
def test_a_sweep_of_what_nobody_recorded_leaves_nothing(gce: GceCloud, line: dict[str, str]) -> None:
    make(gce, line)
    sweep(gce)
    assert gce.leftovers() == []


def test_a_machine_of_a_group_is_left_to_its_group(gce: GceCloud) -> None:
    make(gce, TWO_HOSTS)
    assert "instance" not in {each.kind for each in owned()}


def test_a_machine_whose_group_is_gone_is_seen(gce: GceCloud) -> None:
    make(gce, TWO_HOSTS)
    group = gce.table.of("instanceGroupManagers")[0]
    gce.table.drop(group)
    assert [each.kind for each in owned()].count("instance") == 2
    sweep(gce)
    assert gce.leftovers() == []


def test_a_disk_that_outlived_its_machine_is_seen_and_removed(gce: GceCloud) -> None:
    make(gce, ONE_HOST)
    machine = gce.table.of("instances")[0]
    machine["disks"][0]["autoDelete"] = False
    gce.machines.remove(machine)
    assert [each.kind for each in owned()] == ["disk"]
    sweep(gce)
    assert gce.leftovers() == []


def test_an_insert_that_is_still_running_is_seen(gce: GceCloud) -> None:
    gce.machines.operation_s = 600.0
    inputs = inputs_of(ONE_HOST)
    record().drivers["instance"].create(inputs)
    gce.table.items.clear()
    found = owned()
    assert [(each.kind, each.id, each.run) for each in found] == [
        ("instance", inputs["name"], inputs["tags"]["cloudtrain-key"])
    ]
    with pytest.raises(Unavailable):
        record().drivers["instance"].delete(found[0].inputs, found[0].id)


def test_what_is_not_ours_is_never_listed(gce: GceCloud) -> None:
    make(gce, ONE_HOST)
    body = {"name": "theirs", "workloadPolicy": {"type": "HIGH_THROUGHPUT"}}
    gce.table.put(Target("simulation-project", "regions/us-central1", "resourcePolicies", "theirs"), body)
    gce.table.of("instances")[0]["labels"].clear()
    gce.table.of("disks")[0].update(labels={}, users=[])
    assert owned() == []


def test_a_place_that_did_not_answer_is_no_empty_list(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {
        "kind": "compute#instanceAggregatedList",
        "items": {"zones/us-east5-a": {"warning": {"code": "UNREACHABLE", "message": "x"}}},
    }
    monkeypatch.setattr(gce, "_answer", lambda asked, request: silent)
    with pytest.raises(Unavailable, match="us-east5-a"):
        owned()


def test_a_project_that_is_not_there_is_no_empty_list(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "another-project")
    with pytest.raises(NotFound):
        owned()
