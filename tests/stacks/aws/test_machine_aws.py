"""A machine at AWS is made once, ends itself in two ways, is found by tag, and is proven gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cloudtrain.stacks.aws import machine as aws_machine

from cloudtrain import errors
from cloudtrain.providers import Cloud, Stack, load
from cloudtrain.records import RowRecord
from cloudtrain.simulator.aws import AwsCloud
from cloudtrain.simulator.clock import Clock
from tests.patience import TIMING
from tests.stacks.aws.aws_world import DEADLINE, LINE, NOW, ON_DEMAND, cloud_of_aws, make, plan, remove_all

SECRET = "PLANTED-SECRET"


@pytest.fixture(scope="module")
def door() -> Iterator[AwsCloud]:
    """One server for the file."""
    fake = AwsCloud(Clock(NOW))
    yield fake
    fake.stop()


@pytest.fixture
def fake(door: AwsCloud, monkeypatch: pytest.MonkeyPatch) -> AwsCloud:
    """An empty account that the environment points at."""
    door.reset(Clock(NOW))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    for name, value in door.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CLOUDTRAIN_SIMULATOR_TIMING", TIMING)
    return door


@pytest.fixture
def cloud(fake: AwsCloud) -> Cloud:
    return cloud_of_aws()


@pytest.mark.parametrize("line", [LINE, ON_DEMAND])
def test_what_is_made_is_listed_by_tag_and_a_sweep_leaves_nothing(
    fake: AwsCloud, cloud: Cloud, line: RowRecord
) -> None:
    made = make(fake, cloud, plan(line=line))
    kinds = {owned.kind for owned in cloud.list_owned(None, None)}
    assert kinds == {"security_group", "instance", "time_limit"} | ({"spot_request"} if line is LINE else set())
    assert {owned.expires for owned in cloud.list_owned(None, None)} == {DEADLINE}
    assert {owned.run for owned in cloud.list_owned(None, None)} == {made["machine"][1]["tags"]["cloudtrain-key"]}
    remove_all(fake, cloud)
    assert fake.leftovers() == []
    assert list(cloud.list_owned(None, None)) == []


def test_a_list_of_one_run_leaves_out_the_others(fake: AwsCloud, cloud: Cloud) -> None:
    make(fake, cloud, plan("one", ON_DEMAND))
    other = make(fake, cloud, plan("two", ON_DEMAND))["machine"]
    key, place = other[1]["tags"]["cloudtrain-key"], other[1]["place"]
    assert {owned.run for owned in cloud.list_owned(key, [place])} == {key}
    assert other[2].id in {owned.id for owned in cloud.list_owned(key, [place])}


def test_the_request_asks_for_what_keeps_a_machine_from_outliving_its_use(fake: AwsCloud, cloud: Cloud) -> None:
    make(fake, cloud, plan())
    [machine] = fake.machines.values()
    from cloudtrain.simulator.aws.machines import moto_instance

    instance = moto_instance(fake, machine)
    assert (machine.behaviour, machine.deadline, machine.market) == ("terminate", DEADLINE, "spot")
    assert instance.metadata_options.http_tokens == "required"
    assert all(volume.delete_on_termination for _, volume in instance.get_block_device_mapping)
    [request] = fake.spot_requests.values()
    assert {"Key": "cloudtrain-key", "Value": machine.tags["cloudtrain-key"]} in request["Tags"]


@pytest.mark.parametrize(("asked", "usd"), [(None, 0.0), (125, 0.0), (500, 375 * 0.04 / 730)])
def test_the_disk_is_asked_for_the_speed_of_the_row(
    fake: AwsCloud, cloud: Cloud, asked: int | None, usd: float
) -> None:
    """And billed for it; a row that names none asks for none."""
    line = ON_DEMAND.replace(disk_gb=100, disk_mb_per_s=asked)
    resource, inputs, _ = make(fake, cloud, plan(line=line))["machine"]
    [disk] = [each["Ebs"] for each in aws_machine.request(inputs, None)["BlockDeviceMappings"]]
    assert disk.get("Throughput") == asked
    assert (f"100 GB disk of {asked} MB/s" in resource.summary) == (asked is not None)
    [volume] = [each for each in fake.ledger.entries if each.what.startswith("volume")]
    assert volume.usd_per_hour == pytest.approx(100 * 0.08 / 730 + usd)


@pytest.mark.parametrize("wrong", [100, 800, 2000])
def test_a_speed_that_gp3_does_not_have_is_refused(fake: AwsCloud, cloud: Cloud, wrong: int) -> None:
    """Too slow, more than 3,000 operations carry, more than there is."""
    with pytest.raises(errors.Rejected, match="hroughput"):
        make(fake, cloud, plan(line=ON_DEMAND.replace(disk_mb_per_s=wrong)))
    assert fake.ledger.running() == []


@pytest.mark.parametrize("dead", ["guests_boot", "schedules_fire"])
@pytest.mark.parametrize("line", [LINE, ON_DEMAND])
def test_each_guard_alone_stops_the_bill_by_the_deadline(
    fake: AwsCloud, cloud: Cloud, dead: str, line: RowRecord
) -> None:
    setattr(fake, dead, False)
    make(fake, cloud, plan(line=line))
    assert fake.ledger.running()
    fake.clock.advance(DEADLINE + 1 - fake.clock.now())
    assert fake.ledger.running() == []


def test_without_any_guard_the_bill_goes_on(fake: AwsCloud, cloud: Cloud) -> None:
    fake.guests_boot = fake.schedules_fire = False
    make(fake, cloud, plan())
    fake.clock.advance(7300)
    assert len(fake.ledger.running()) == 2  # machine and disk


def test_a_lost_answer_is_unknown_and_the_machine_is_found_and_not_made_twice(fake: AwsCloud, cloud: Cloud) -> None:
    made = make(fake, cloud, plan(), upto="time-limit-policy")
    resource = next(each for each in cloud.resources(plan(), cloud.account()) if each.role == "machine")
    inputs = {**resource.inputs, "needs": {"firewall": {"id": made["firewall"][2].id}}}
    driver = cloud.drivers["instance"]
    fake.faults.add("RunInstances", "lost_reply")
    with pytest.raises(errors.Unknown):
        driver.create(inputs)
    [found] = driver.find(inputs)
    assert driver.create(inputs).id == found.id
    assert fake.calls.count("RunInstances") == 2  # ours, not the SDK's


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dropped", errors.Unknown),
        ("throttled", errors.Unavailable),
        ("unavailable", errors.Unknown),
        ("no_capacity", errors.NoCapacity),
        ("quota", errors.Quota),
        ("permission", errors.Permission),
    ],
)
def test_a_call_that_fails_is_sent_once_and_told_in_our_words(
    fake: AwsCloud, cloud: Cloud, kind: Any, expected: type[errors.ProviderError]
) -> None:
    fake.faults.add("RunInstances", kind)
    with pytest.raises(errors.ProviderError) as error:
        make(fake, cloud, plan())
    assert type(error.value) is expected
    assert fake.calls.count("RunInstances") == 1
    assert not fake.ledger.entries
    assert SECRET not in error.value.message + error.value.hint


def test_a_quota_is_told_with_its_code_and_the_link_to_ask_for_more(fake: AwsCloud, cloud: Cloud) -> None:
    fake.quotas["L-6B0D517C"] = 0
    with pytest.raises(errors.Quota) as error:
        make(fake, cloud, plan())
    assert "L-6B0D517C" in error.value.message
    assert error.value.hint.endswith(
        "us-east-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/L-6B0D517C"
    )


def test_capacity_that_is_taken_back_is_no_capacity_and_gone(fake: AwsCloud, cloud: Cloud) -> None:
    fake.faults.add("RunInstances", "no_capacity_later", seconds=3)
    with pytest.raises(errors.NoCapacity) as error:
        make(fake, cloud, plan())
    assert isinstance(error.value, errors.NotFound)
    assert fake.ledger.running() == []


def test_a_security_group_waits_for_its_machine(fake: AwsCloud, cloud: Cloud) -> None:
    _, inputs, seen = make(fake, cloud, plan())["firewall"]
    with pytest.raises(errors.Unavailable):
        cloud.drivers["security_group"].delete(inputs, seen.id)


def test_making_the_same_again_makes_no_second_thing(fake: AwsCloud, cloud: Cloud) -> None:
    made = make(fake, cloud, plan())
    for resource, inputs, seen in made.values():
        assert cloud.drivers[resource.kind].create(inputs).id == seen.id
    assert len(fake.machines) == 1


def test_a_name_that_somebody_else_uses_is_refused_and_not_adopted(fake: AwsCloud, cloud: Cloud) -> None:
    resource = cloud.resources(plan(), cloud.account())[0]
    stranger = {**resource.inputs, "tags": {"cloudtrain-key": "00000000"}}
    cloud.drivers["security_group"].create(stranger)
    with pytest.raises(errors.Rejected):
        cloud.drivers["security_group"].create(resource.inputs)


def test_a_stopped_machine_is_still_ours_to_delete(fake: AwsCloud, cloud: Cloud) -> None:
    from cloudtrain.simulator.aws.machines import set_state

    _, inputs, seen = make(fake, cloud, plan())["machine"]
    set_state(fake, fake.machines[seen.id], "stopped")
    assert [each.state for each in cloud.drivers["instance"].find(inputs)] == ["ended"]
    assert seen.id in {owned.id for owned in cloud.list_owned(None, None)}


def test_what_is_terminated_is_not_found_and_not_owned(fake: AwsCloud, cloud: Cloud) -> None:
    _, inputs, seen = make(fake, cloud, plan())["machine"]
    cloud.drivers["instance"].delete(inputs, seen.id)
    fake.clock.advance(5)
    assert cloud.drivers["instance"].find(inputs) == []
    with pytest.raises(errors.NotFound):
        cloud.drivers["instance"].status(inputs, seen.id)
    assert seen.id not in {owned.id for owned in cloud.list_owned(None, None)}
    cloud.drivers["instance"].delete(inputs, seen.id)  # as often as one likes


def test_a_disk_that_was_left_is_found_and_deleted(fake: AwsCloud, cloud: Cloud) -> None:
    _, _, seen = make(fake, cloud, plan())["machine"]
    from cloudtrain.simulator.aws.machines import moto_instance

    for _, volume in moto_instance(fake, fake.machines[seen.id]).get_block_device_mapping:
        volume.delete_on_termination = False
    remove_all(fake, cloud)
    assert [left.split()[0] for left in fake.leftovers()] == ["volume"]
    assert [owned.kind for owned in cloud.list_owned(None, None)] == ["volume"]
    remove_all(fake, cloud)
    assert fake.leftovers() == []


def test_every_region_and_every_page_is_looked_at(fake: AwsCloud, cloud: Cloud) -> None:
    made = make(fake, cloud, plan(line=LINE.replace(region="us-west-2", zone="usw2-az4")))
    _, inputs, _ = made["time-limit"]
    for number in range(55):  # a page holds 50
        cloud.drivers["time_limit"].create(
            {**inputs, "name": f"ct-0000{number:04d}-1-time-limit", "token": str(number)}
        )
    owned = list(cloud.list_owned(None, None))
    assert sum(each.kind == "time_limit" for each in owned) == 56
    assert "instance" in {each.kind for each in owned}
    assert {each.inputs["place"]["region"] for each in owned} == {"us-west-2"}


def test_a_region_that_cannot_be_seen_is_an_error_after_what_can(fake: AwsCloud, cloud: Cloud) -> None:
    make(fake, cloud, plan(line=ON_DEMAND))
    fake.faults.add("DescribeVolumes", "permission", times=1)
    listing, seen = iter(cloud.list_owned(None, None)), []

    def look() -> None:
        seen.extend(owned.kind for owned in iter(lambda: next(listing), None))

    with pytest.raises(errors.Permission, match="us-"):
        look()
    assert "instance" in seen


def test_an_empty_list_of_another_account_proves_nothing(fake: AwsCloud, cloud: Cloud) -> None:
    place = {"account": "999999999999", "region": "us-east-1"}
    with pytest.raises(errors.MissingCredentials, match="999999999999"):
        list(cloud.list_owned("3f9a2c01", [place]))


def test_a_role_that_the_scheduler_does_not_know_yet_is_worth_another_try(fake: AwsCloud, cloud: Cloud) -> None:
    fake.faults.add("CreateRole", "stale", seconds=60)
    with pytest.raises(errors.Unavailable):
        make(fake, cloud, plan())
    fake.clock.advance(60)
    assert make(fake, cloud, plan())["time-limit"][2].state == "ready"


def test_only_the_regions_that_were_named_are_looked_at(
    fake: AwsCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(fake, cloud, plan())
    monkeypatch.setenv("CLOUDTRAIN_AWS_REGIONS", "us-west-2")
    assert list(cloud.list_owned(None, None)) == []
    monkeypatch.setenv("CLOUDTRAIN_AWS_REGIONS", "us-west-2, us-east-1")
    assert list(cloud.list_owned(None, None))
    monkeypatch.setenv("CLOUDTRAIN_AWS_REGIONS", "eu-north-1")
    with pytest.raises(errors.Permission, match="eu-north-1"):
        list(cloud.list_owned(None, None))


def test_a_region_that_the_account_has_not_switched_on_is_closed(fake: AwsCloud, cloud: Cloud) -> None:
    """Only where that can be asked."""
    assert cloud.unavailable_reason(LINE.key) == ""
    assert "eu-south-2 is not switched on" in cloud.unavailable_reason(LINE.replace(region="eu-south-2").key)
    fake.faults.add("DescribeRegions", "permission")
    assert cloud.unavailable_reason(LINE.replace(region="eu-south-2").key) == ""


def test_somebody_else_s_things_are_not_ours(fake: AwsCloud, cloud: Cloud) -> None:
    _, inputs, _ = make(fake, cloud, plan())["time-limit"]
    remove_all(fake, cloud)
    client = sys.modules["cloudtrain.stacks.aws.client"]
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
        "RoleArn": inputs["needs"]["time-limit-role"]["arn"],
        "Input": '{"InstanceIds": ["i-1"]}',
    }
    client.change(
        *("scheduler", "us-east-1", "create_schedule"),
        Name="ct-00000000-1-theirs",
        ScheduleExpression="at(2030-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=target,
    )
    assert list(cloud.list_owned(None, None)) == []


def test_a_reading_call_is_repeated_a_few_times(fake: AwsCloud, cloud: Cloud) -> None:
    fake.faults.add("DescribeInstances", "throttled", times=2)
    make(fake, cloud, plan())
    fake.faults.add("DescribeInstances", "dropped", times=3)
    with pytest.raises(errors.Unavailable):
        list(cloud.list_owned(None, [{"region": "us-east-1"}]))


def test_missing_and_wrong_credentials_are_told_with_what_to_set(
    fake: AwsCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY0000000000")
    with pytest.raises(errors.MissingCredentials) as wrong:
        cloud.account()
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(errors.MissingCredentials) as missing:
        cloud.account()
    for error in (wrong, missing):
        assert "AWS_PROFILE" in error.value.hint
        assert SECRET not in error.value.message + error.value.hint


def test_an_endpoint_elsewhere_is_refused_before_anything_is_sent(
    fake: AwsCloud, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://collector.example:80")
    with pytest.raises(errors.UsageError, match="not on this machine"):
        cloud.account()


def test_no_secret_is_in_what_is_kept(fake: AwsCloud, cloud: Cloud) -> None:
    made = make(fake, cloud, plan())
    assert SECRET not in json.dumps([[inputs, seen.outputs] for _, inputs, seen in made.values()])


def test_the_shipped_policy_allows_every_call_that_is_made(fake: AwsCloud, cloud: Cloud) -> None:
    make(fake, cloud, plan())
    list(cloud.findings())
    remove_all(fake, cloud)
    document = json.loads(files("cloudtrain.templates").joinpath("policies", "aws.json").read_text())
    actions = [each["Action"] for each in document["Statement"]]
    allowed = {action.split(":")[1] for each in actions for action in ([each] if isinstance(each, str) else each)}
    assert set(fake.calls) <= allowed


def test_doctor_names_the_quota_that_is_too_small(fake: AwsCloud, cloud: Cloud) -> None:
    fake.quotas["L-2C3B7624"] = 0
    problems = [finding for finding in cloud.findings() if finding.state == "problem"]
    assert [("L-2C3B7624" in each.message, "L-2C3B7624" in each.hint) for each in problems] == [(True, True)]
    assert not fake.ledger.entries


def test_doctor_tells_a_permission_that_is_missing(fake: AwsCloud, cloud: Cloud) -> None:
    fake.faults.add("RunInstances", "permission")
    found = {finding.what: finding.state for finding in cloud.findings()}
    assert found["EC2 RunInstances in us-east-1"] == "problem"


@pytest.mark.parametrize(
    ("line", "served"),
    [
        (LINE, True),
        (ON_DEMAND, True),
        (LINE.replace(hardware="cpu-amx"), True),
        (LINE.replace(hardware="trainium2"), True),
        (LINE.replace(hardware="trainium2", market="on_demand"), False),
        (LINE.replace(hardware="inferentia2"), False),
        (LINE.replace(hardware="nvidia"), False),
        (LINE.replace(hardware="gaudi1"), False),
        (LINE.replace(provider="gcp"), False),
    ],
)
def test_it_serves_trainium_and_processors(line: RowRecord, served: bool) -> None:
    assert cloud_of_aws().serves(line.key) is served


def test_two_guards_work_without_the_client() -> None:
    guards = load("stacks", "aws", Stack).guards("trn1.2xlarge", "spot")
    assert sum(guard.alone for guard in guards) == 2


@pytest.mark.parametrize(("left_s", "minutes"), [(7259, "+120"), (59, "+0"), (-100, "+0")])
def test_the_machine_s_script_sets_its_timer_first_and_again_at_every_boot(
    tmp_path: Path, cloud: Cloud, left_s: int, minutes: str
) -> None:
    text = sys.modules["cloudtrain.stacks.aws.machine"].user_data(NOW + left_s)
    for name, body in (("date", f"echo {int(NOW)}"), ("shutdown", f'echo "$@" >> {tmp_path}/told')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "part-001"
    script.write_text(text)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CLOUDTRAIN_PER_BOOT": str(tmp_path / "per-boot"),
    }
    for path in (script, tmp_path / "per-boot" / "cloudtrain-deadline"):
        subprocess.run(["sh", str(path)], env=environment, check=True)
    assert (tmp_path / "told").read_text().splitlines() == [f"-h {minutes}"] * 2
