"""Compute Engine machines against the fake: made once, found again, judged, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from cloudtrain import providers
from cloudtrain.errors import (
    Balance,
    MissingCredentials,
    NoCapacity,
    NotFound,
    Permission,
    Quota,
    Rejected,
    Unavailable,
    Unknown,
)
from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.compute import GceCloud
from cloudtrain.simulator.http_server import Reply
from tests.patience import TIMING
from tests.records import row
from tests.stacks.gcp.gce_world import (
    HOUR,
    ONE_HOST,
    PROCESSOR,
    START,
    TWO_HOSTS,
    inputs_of,
    make,
    parts,
    plan_of,
    record,
    stack,
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


@pytest.mark.parametrize("line", [ONE_HOST, TWO_HOSTS, PROCESSOR])
def test_what_is_made_is_found_ready_and_can_be_removed_backwards(gce: GceCloud, line: dict[str, str]) -> None:
    make(gce, line)
    for part in parts(line):
        assert [seen.state for seen in record().drivers[part.kind].find(part.inputs)] == ["ready"], part.role
    for part in reversed(parts(line)):
        record().drivers[part.kind].delete(part.inputs, str(part.inputs["name"]))
        gce.clock.sleep(5.0)
        assert not record().drivers[part.kind].find(part.inputs), part.role
    assert gce.leftovers() == []


@pytest.mark.parametrize("line", [ONE_HOST, TWO_HOSTS, PROCESSOR])
def test_google_ends_every_machine_and_disk_at_the_deadline_without_us(gce: GceCloud, line: dict[str, str]) -> None:
    make(gce, line, hours=4.0)
    assert gce.ledger.running()
    gce.clock.advance(4 * HOUR)
    assert gce.ledger.running() == []


def test_a_create_that_arrives_late_does_not_run_beyond_the_deadline(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "late", seconds=3.9 * HOUR)
    with pytest.raises(Unknown):
        record().drivers["instance"].create(inputs_of(ONE_HOST, hours=4.0))
    gce.clock.advance(3.95 * HOUR)
    assert gce.ledger.running()
    gce.clock.advance(0.05 * HOUR)
    assert gce.ledger.running() == []


def test_a_lost_answer_is_unknown_and_the_machine_is_found(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "lost_reply")
    inputs = inputs_of(ONE_HOST)
    with pytest.raises(Unknown):
        record().drivers["instance"].create(inputs)
    assert [seen.id for seen in record().drivers["instance"].find(inputs)] == [inputs["name"]]


def test_the_same_create_twice_makes_one_machine(gce: GceCloud) -> None:
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    driver.create(inputs)
    gce.clock.sleep(5.0)
    assert driver.create(inputs).id == inputs["name"]
    assert driver.create({**inputs, "request_id": inputs_of(ONE_HOST, run="b")["request_id"]}).state == "ready"
    assert len(gce.table.of("instances")) == 1


def test_a_late_create_that_was_repeated_and_removed_makes_nothing_any_more(gce: GceCloud) -> None:
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    gce.faults.add("instances.insert", "late", seconds=60.0)
    with pytest.raises(Unknown):
        driver.create(inputs)
    driver.create(inputs)
    driver.delete(inputs, inputs["name"])
    gce.clock.advance(120.0)
    assert gce.leftovers() == []


def test_a_create_is_one_request_on_the_wire(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "unavailable", times=9)
    with pytest.raises(Unknown):
        record().drivers["instance"].create(inputs_of(ONE_HOST))
    assert gce.calls == ["instances.insert"]


def test_a_name_that_somebody_else_has_is_rejected_and_their_machine_left_alone(gce: GceCloud) -> None:
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    theirs = {**inputs, "tags": {**inputs["tags"], "cloudtrain-key": "deadbeef"}}
    driver.create({**theirs, "request_id": inputs_of(ONE_HOST, run="theirs")["request_id"]})
    with pytest.raises(Rejected, match="not ours"):
        driver.create(inputs)
    assert driver.find(inputs) == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        *[("no_capacity", NoCapacity), ("no_capacity_later", NoCapacity), ("quota", Quota)],
        *[("permission", Permission), ("balance", Balance), ("throttled", Unavailable), ("dropped", Unknown)],
    ],
)
@pytest.mark.parametrize("line", [ONE_HOST, TWO_HOSTS])
def test_every_way_to_get_no_machine_has_its_own_error(
    gce: GceCloud, line: dict[str, str], fault: str, error: type[Exception]
) -> None:
    gce.faults.add("instance*s.insert", fault, seconds=60.0)  # type: ignore[arg-type]
    gce.machines.boot_s = 120.0
    with pytest.raises(error):
        make(gce, line)
    assert [entry.what for entry in gce.ledger.running()] == []


def test_a_machine_that_google_gave_up_is_gone_and_says_why(gce: GceCloud) -> None:
    gce.faults.add("instances.insert", "no_capacity")
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    name = driver.create(inputs).id
    with pytest.raises(NotFound, match="ZONE_RESOURCE_POOL_EXHAUSTED") as caught:
        driver.status(inputs, name)
    assert isinstance(caught.value, NoCapacity)
    assert driver.find(inputs) == []


def test_an_insert_that_is_running_is_found_and_its_name_is_not_taken_for_gone(gce: GceCloud) -> None:
    gce.machines.operation_s = 600.0
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    driver.create(inputs)
    gce.table.items.clear()  # the operation is there before the machine
    assert [seen.state for seen in driver.find(inputs)] == ["building"]
    assert driver.status(inputs, inputs["name"]).state == "building"
    with pytest.raises(Unavailable, match="still being made"):
        driver.delete(inputs, inputs["name"])
    gce.clock.advance(600.0)
    with pytest.raises(NotFound):
        driver.delete(inputs, inputs["name"])


def test_a_stopped_machine_has_ended_and_is_still_found(gce: GceCloud) -> None:
    make(gce, ONE_HOST)
    gce.machines.end(gce.table.of("instances")[0], "STOP")
    assert [seen.state for seen in record().drivers["instance"].find(inputs_of(ONE_HOST))] == ["ended"]


def test_a_group_that_lost_a_host_has_ended(gce: GceCloud) -> None:
    make(gce, TWO_HOSTS)
    gce.preempt(gce.table.of("instances")[0]["name"])
    inputs = inputs_of(TWO_HOSTS)
    assert record().drivers["instance_group"].status(inputs, inputs["name"]).state == "ended"


def test_a_template_in_use_asks_for_patience(gce: GceCloud) -> None:
    make(gce, TWO_HOSTS)
    inputs = inputs_of(TWO_HOSTS, "template")
    with pytest.raises(Unavailable):
        record().drivers["instance_template"].delete(inputs, inputs["name"])


@pytest.mark.parametrize("words", [b"<html>proxy</html>", b'{"detail": "no route"}', b"", b"[]"])
def test_a_404_that_is_not_googles_proves_nothing(gce: GceCloud, monkeypatch: pytest.MonkeyPatch, words: bytes) -> None:
    monkeypatch.setattr(gce, "perform", lambda call, request: Reply(404, words))
    driver, inputs = record().drivers["instance"], inputs_of(ONE_HOST)
    with pytest.raises(Unavailable):
        driver.status(inputs, "x")
    with pytest.raises(Unknown):
        driver.delete(inputs, "x")


def test_flex_start_has_a_duration_of_at_most_a_week(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: START)
    inputs = {**inputs_of(ONE_HOST, hours=24 * 30), "model": "FLEX_START"}
    record().drivers["instance"].create(inputs)
    gce.clock.advance(7 * 86400.0 + 60)
    assert gce.ledger.running() == []


def test_every_attempt_takes_the_next_zone_of_the_row(gce: GceCloud) -> None:
    zones = [inputs_of(ONE_HOST, attempt=attempt)["place"]["zone"] for attempt in (1, 2, 3)]
    assert zones == ["us-central1-a", "us-central1-b", "us-central1-a"]
    assert inputs_of(PROCESSOR)["place"]["zone"] == "us-east1-b"


@pytest.mark.parametrize(
    ("offer", "count", "machine_type", "hosts"),
    [
        ("v6e-1", 1, "ct6e-standard-1t", 1),
        ("v6e-4", 4, "ct6e-standard-4t", 1),
        ("v6e-16", 16, "ct6e-standard-4t", 4),
        ("v5p-8", 4, "ct5p-hightpu-4t", 1),
        ("v5p-16", 8, "ct5p-hightpu-4t", 2),
    ],
)
def test_v6e_names_count_chips_and_v5p_names_count_cores(
    gce: GceCloud, offer: str, count: int, machine_type: str, hosts: int
) -> None:
    inputs = inputs_of(ONE_HOST.replace(offer=offer, count=count, hardware=offer[:3]))
    assert (inputs["machine_type"], inputs.get("hosts", 1)) == (machine_type, hosts)


def test_a_row_whose_name_and_count_disagree_is_not_served() -> None:
    assert not record().serves(ONE_HOST.replace(offer="v5p-8", count=8).key)
    assert not record().serves(ONE_HOST.replace(market="owned").key)


def test_every_row_of_the_catalogue_is_served_by_one_of_the_two_apis() -> None:
    source = providers.load("pricing", "gcp", providers.PriceSource)
    catalog = Path(str(files("cloudtrain.pricing"))) / "snapshots"
    offers = list(source.offers(providers.Context(catalog)))
    assert offers
    for offer in offers:
        assert record().serves(offer.key), offer
        assert record().resources(plan_of(row(**offer.key._asdict())), {"project": "p"})


def test_without_a_project_the_hint_has_both_commands(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT")
    with pytest.raises(MissingCredentials) as caught:
        record().account()
    assert "gcloud auth application-default login" in caught.value.hint
    assert "GOOGLE_CLOUD_PROJECT" in caught.value.hint


def test_no_secret_reaches_inputs_outputs_or_errors(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = make(gce, TWO_HOSTS)
    assert "PLANTED-SECRET" not in repr((seen, parts(TWO_HOSTS), list(record().findings())))
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TOKEN", "WRONG-SECRET")
    with pytest.raises(MissingCredentials) as caught:
        record().drivers["instance"].create(inputs_of(ONE_HOST))
    assert "SECRET" not in caught.value.message + caught.value.hint


def test_two_guards_work_with_the_client_gone() -> None:
    for line in (ONE_HOST, TWO_HOSTS, PROCESSOR):
        assert sum(guard.alone for guard in stack().guards(line.offer, line.market)) >= 2


def test_doctor_names_the_permissions_that_are_missing(gce: GceCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.state for finding in record().findings()} == {"ok"}
    answer = gce._answer
    monkeypatch.setattr(
        gce, "_answer", lambda asked, request: {} if "testIam" in asked.call else answer(asked, request)
    )
    problems = [finding for finding in record().findings() if finding.state == "problem"]
    assert len(problems) == 1
    assert "compute.instances.delete" in problems[0].message


def test_the_role_that_is_advised_has_every_permission_that_doctor_asks_for() -> None:
    role = yaml.safe_load(files("cloudtrain.templates").joinpath("policies", "gcp.yaml").read_text())
    asked = import_module("cloudtrain.stacks.gcp.doctor_checks").PERMISSIONS
    assert set(asked) <= set(role["includedPermissions"])
