"""The fake AWS refuses, forgets, bills and ends as the real one does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from cloudtrain.simulator.aws import ACCESS_KEY, SECRET_KEY, AwsCloud
from cloudtrain.simulator.clock import Clock

NOW = 1.8e9
UBUNTU = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
TRUST = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}


@pytest.fixture(scope="module")
def machine_url() -> Iterator[AwsCloud]:
    """One server for the file."""
    cloud = AwsCloud(Clock(NOW))
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(machine_url: AwsCloud) -> AwsCloud:
    """An empty account."""
    machine_url.reset(Clock(NOW))
    return machine_url


@pytest.fixture
def ec2(cloud: AwsCloud) -> Any:
    return client(cloud, "ec2")


def client(cloud: AwsCloud, service: str, key: str = ACCESS_KEY) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": key, "aws_secret_access_key": SECRET_KEY}
    return boto3.client(service, region_name="us-east-1", endpoint_url=cloud.url, config=config, **keys)


def run(ec2: Any, **more: Any) -> str:
    arguments = {"ImageId": UBUNTU, "InstanceType": "r8i.48xlarge", "MinCount": 1, "MaxCount": 1, **more}
    return str(ec2.run_instances(**arguments)["Instances"][0]["InstanceId"])


def state(ec2: Any, instance: str) -> str:
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return str(found["State"]["Name"])


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_the_same_token_makes_one_machine_and_one_id(ec2: Any, cloud: AwsCloud) -> None:
    assert run(ec2, ClientToken="a") == run(ec2, ClientToken="a")
    assert len(cloud.machines) == 1


def test_a_token_with_other_parameters_is_refused(ec2: Any) -> None:
    run(ec2, ClientToken="a")
    with pytest.raises(ClientError) as error:
        run(ec2, ClientToken="a", InstanceType="r8i.16xlarge")
    assert code(error) == "IdempotentParameterMismatch"


def test_a_token_does_not_raise_the_dead(ec2: Any, cloud: AwsCloud) -> None:
    ec2.terminate_instances(InstanceIds=[run(ec2, ClientToken="a")])
    cloud.clock.advance(10)
    with pytest.raises(ClientError) as error:
        run(ec2, ClientToken="a")
    assert code(error) == "IdempotentInstanceTerminated"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "r8g.48xlarge"}, "InvalidParameterValue"),  # arm
        ({"InstanceType": "r9000.large"}, "InvalidParameterValue"),  # no such word
        ({"InstanceType": "trn2.3xlarge"}, "Unsupported"),  # only in Melbourne
        ({"SubnetId": "subnet-0"}, "InvalidSubnetID.NotFound"),
        ({"InstanceType": "c8i.96xlarge", "MaxCount": 2}, "InvalidParameterValue"),
        ({"DryRun": True}, "DryRunOperation"),
    ],
)
def test_what_ec2_would_refuse_is_refused_and_costs_nothing(
    ec2: Any, cloud: AwsCloud, more: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as error:
        run(ec2, **more)
    assert code(error) == expected
    assert not cloud.ledger.entries


def test_a_type_stands_only_in_the_zones_that_have_it(ec2: Any) -> None:
    subnets = ec2.describe_subnets()["Subnets"]
    [wrong] = [each["SubnetId"] for each in subnets if each["AvailabilityZoneId"] == "use1-az1"]
    assert run(ec2, InstanceType="r8i.16xlarge", SubnetId=wrong)
    with pytest.raises(ClientError) as error:
        run(ec2, InstanceType="trn1.2xlarge", SubnetId=wrong)
    assert code(error) == "Unsupported"


def test_the_quota_counts_running_machines_of_the_family(ec2: Any, cloud: AwsCloud) -> None:
    cloud.quotas["L-1216C47A"] = 300
    first = run(ec2)
    with pytest.raises(ClientError) as error:
        run(ec2)
    assert code(error) == "VcpuLimitExceeded"
    ec2.terminate_instances(InstanceIds=[first])
    assert run(ec2)


def test_a_machine_is_pending_running_shutting_down_terminated(ec2: Any, cloud: AwsCloud) -> None:
    instance = run(ec2)
    seen = [state(ec2, instance)]
    cloud.clock.advance(1)
    seen.append(state(ec2, instance))
    ec2.terminate_instances(InstanceIds=[instance])
    seen.append(state(ec2, instance))
    cloud.clock.advance(1)
    seen.append(state(ec2, instance))
    assert seen == ["pending", "running", "shutting-down", "terminated"]
    cloud.clock.advance(7200)
    with pytest.raises(ClientError) as error:
        state(ec2, instance)
    assert code(error) == "InvalidInstanceID.NotFound"


def test_a_disk_that_outlives_its_machine_goes_on_costing(ec2: Any, cloud: AwsCloud) -> None:
    disks = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 100}}]  # DeleteOnTermination defaults to no
    ec2.terminate_instances(InstanceIds=[run(ec2, BlockDeviceMappings=disks)])
    cloud.clock.advance(10)
    [left] = cloud.leftovers()
    assert left.startswith("volume")
    ec2.delete_volume(VolumeId=left.split()[-1])
    assert cloud.leftovers() == []


def test_a_guest_that_shuts_down_without_the_behaviour_only_stops(ec2: Any, cloud: AwsCloud) -> None:
    script = f"#!/bin/sh\ndeadline={int(NOW + 600)}\nshutdown -h +10\n"
    stopping, ending = (
        run(ec2, UserData=script),
        run(ec2, UserData=script, InstanceInitiatedShutdownBehavior="terminate"),
    )
    cloud.clock.advance(700)
    assert [state(ec2, each) for each in (stopping, ending)] == ["stopped", "terminated"]
    assert [left.split()[0] for left in cloud.leftovers()] == ["volume"]


def test_capacity_can_be_refused_at_once_and_after_accepting(ec2: Any, cloud: AwsCloud) -> None:
    cloud.faults.add("RunInstances", "no_capacity")
    with pytest.raises(ClientError) as error:
        run(ec2)
    assert code(error) == "InsufficientInstanceCapacity"
    cloud.faults.add("RunInstances", "no_capacity_later", seconds=5)
    instance = run(ec2)
    cloud.clock.advance(6)
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["StateReason"]["Code"] == "Server.InsufficientInstanceCapacity"
    assert cloud.leftovers() == []


def test_a_security_group_in_use_stays(ec2: Any, cloud: AwsCloud) -> None:
    group = ec2.create_security_group(GroupName="ct-x", Description="x")["GroupId"]
    instance = run(ec2, SecurityGroupIds=[group])
    with pytest.raises(ClientError) as error:
        ec2.delete_security_group(GroupId=group)
    assert code(error) == "DependencyViolation"
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.clock.advance(1)
    ec2.delete_security_group(GroupId=group)
    assert cloud.leftovers() == []


def test_a_spot_request_is_listed_while_its_machine_lives(ec2: Any, cloud: AwsCloud) -> None:
    tags = [{"ResourceType": "spot-instances-request", "Tags": [{"Key": "whose", "Value": "ours"}]}]
    instance = run(ec2, InstanceMarketOptions={"MarketType": "spot"}, TagSpecifications=tags)
    mine = {"Filters": [{"Name": "tag:whose", "Values": ["ours"]}]}
    [request] = ec2.describe_spot_instance_requests(**mine)["SpotInstanceRequests"]
    assert (request["InstanceId"], request["State"]) == (instance, "active")
    ec2.terminate_instances(InstanceIds=[instance])
    cloud.clock.advance(1)
    assert ec2.describe_spot_instance_requests(**mine)["SpotInstanceRequests"][0]["State"] == "closed"


def document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def schedule(cloud: AwsCloud, instance: str, pattern: str = "*", **more: Any) -> None:
    role = {"RoleName": "ender", "AssumeRolePolicyDocument": document(TRUST)}
    arn = client(cloud, "iam").create_role(**role)["Role"]["Arn"]
    tagged = {"StringLike": {"aws:ResourceTag/whose": pattern}}
    allow = {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": "*", "Condition": tagged}
    client(cloud, "iam").put_role_policy(RoleName="ender", PolicyName="p", PolicyDocument=document(allow))
    arguments = {
        "Name": "limit",
        "ScheduleExpression": f"at({datetime.fromtimestamp(NOW + 600, UTC):%Y-%m-%dT%H:%M:%S})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
            "RoleArn": arn,
            "Input": json.dumps({"InstanceIds": [instance]}),
        },
    }
    client(cloud, "scheduler").create_schedule(**{**arguments, **more})


@pytest.mark.parametrize(("pattern", "ended"), [("*", "terminated"), ("theirs", "running")])
def test_a_schedule_fires_with_the_rights_of_its_role(ec2: Any, cloud: AwsCloud, pattern: str, ended: str) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "whose", "Value": "ours"}]}]
    instance = run(ec2, TagSpecifications=tags)
    schedule(cloud, instance, pattern)
    cloud.clock.advance(601)
    assert state(ec2, instance) == ended
    assert client(cloud, "scheduler").list_schedules()["Schedules"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"ScheduleExpression": "at(2020-01-01T00:00:00)"},
        {"ScheduleExpression": "at(2030-01-01)"},
        {"Name": "not a name!"},
        {"FlexibleTimeWindow": {"Mode": "PERHAPS"}},
    ],
)
def test_a_schedule_that_eventbridge_would_refuse_is_refused(cloud: AwsCloud, more: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as error:
        schedule(cloud, "i-1", **more)
    assert code(error) == "ValidationException"


def test_a_schedule_needs_a_role_that_the_scheduler_may_use(cloud: AwsCloud) -> None:
    target = {
        "Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances",
        "RoleArn": "arn:aws:iam::123456789012:role/nobody",
        "Input": json.dumps({"InstanceIds": ["i-1"]}),
    }
    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler"):
        schedule(cloud, "i-1", Target=target)


def test_a_new_machine_can_be_missing_in_lists_awhile(ec2: Any, cloud: AwsCloud) -> None:
    cloud.faults.add("RunInstances", "stale", seconds=20)
    instance = run(ec2)
    assert ec2.describe_instances()["Reservations"] == []
    with pytest.raises(ClientError, match="does not exist"):
        ec2.terminate_instances(InstanceIds=[instance])
    cloud.clock.advance(21)
    assert state(ec2, instance) == "running"


def test_a_dropped_call_may_be_performed_late(ec2: Any, cloud: AwsCloud) -> None:
    cloud.faults.add("RunInstances", "late", seconds=30)
    with pytest.raises(ConnectionClosedError):
        run(ec2)
    assert cloud.leftovers() == []
    cloud.clock.advance(31)
    assert len(cloud.machines) == 1


def test_another_key_is_refused(cloud: AwsCloud) -> None:
    with pytest.raises(ClientError) as error:
        client(cloud, "sts", "AKIASOMEBODYELSE0000").get_caller_identity()
    assert code(error) == "InvalidClientTokenId"


def test_spot_prices_are_the_catalogue_s(ec2: Any) -> None:
    pages = ec2.get_paginator("describe_spot_price_history").paginate(InstanceTypes=["trn1.2xlarge"])
    history = [each for page in pages for each in page["SpotPriceHistory"]]
    assert {(each["AvailabilityZoneId"], float(each["SpotPrice"])) for each in history} >= {("use1-az5", 0.1551)}


def test_a_reset_leaves_nothing_of_before(ec2: Any, cloud: AwsCloud) -> None:
    run(ec2, ClientToken="a")
    cloud.reset(Clock(NOW))
    assert cloud.leftovers() == []
    assert ec2.describe_instances()["Reservations"] == []
    assert cloud.calls == ["DescribeInstances"]
