"""The time limit that AWS keeps: a one-time schedule that terminates the instance, and the role it does it with.

The role and its policy are the same for all runs, cost nothing, and stay. Schedules carry no tags, so the name says
whose it is, and the description that it is ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cloudtrain.errors import NotFound, Rejected
from cloudtrain.providers import Driver, ResourceState

from .._lifecycle.names import KEY, RUN
from .client import change, read, tag_list
from .errors import AlreadyThere

ROLE = POLICY = "cloudtrain-time-limit"
IAM_REGION = "us-east-1"  # IAM is one for all regions
OURS = "cloudtrain time limit of "
AT = r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)"


def trust(account: str) -> str:
    """Only the scheduler may use the role, and only for schedules of this account."""
    who = {"Service": "scheduler.amazonaws.com"}
    mine = {"StringEquals": {"aws:SourceAccount": account}}
    allow = {"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole", "Condition": mine}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow]})


def permission(account: str, partition: str) -> str:
    """It may terminate what carries our tag, and nothing else."""
    tagged = {"StringLike": {f"aws:ResourceTag/{KEY}": "*"}}
    machines = f"arn:{partition}:ec2:*:{account}:instance/*"
    allow = {"Effect": "Allow", "Action": "ec2:TerminateInstances", "Resource": machines, "Condition": tagged}
    return json.dumps({"Version": "2012-10-17", "Statement": [allow]})


def create_role(inputs: Mapping[str, Any]) -> ResourceState:
    """Make the role; one that is there is taken. Raises provider errors."""
    try:
        made = change(
            *("iam", IAM_REGION, "create_role"),
            RoleName=ROLE,
            AssumeRolePolicyDocument=trust(inputs["place"]["account"]),
            Description="Lets EventBridge Scheduler end machines of cloudtrain at their time limit",
            Tags=tag_list({RUN: "all"}),
        )
    except AlreadyThere as error:
        if ours := find_role(inputs):
            return ours[0]
        raise Rejected(error.message) from None
    return ResourceState(ROLE, "building", "asked for", {"arn": made["Role"]["Arn"]})


def find_role(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """The role, if the account has it."""
    try:
        return [role_status(inputs, ROLE)]
    except NotFound:
        return []


def role_status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound."""
    return ResourceState(
        ROLE, "ready", "there", {"arn": read("iam", IAM_REGION, "get_role", RoleName=ROLE)["Role"]["Arn"]}
    )


def create_policy(inputs: Mapping[str, Any]) -> ResourceState:
    """Write the role's permission over whatever it had. Raises provider errors."""
    place = inputs["place"]
    document = permission(place["account"], place.get("partition", "aws"))
    change("iam", IAM_REGION, "put_role_policy", RoleName=ROLE, PolicyName=POLICY, PolicyDocument=document)
    return ResourceState(POLICY, "building", "asked for")


def find_policy(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """The role's permission, if it is the one that we would write."""
    try:
        return [policy_status(inputs, POLICY)]
    except NotFound:
        return []


def policy_status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound also for one that says something else: then it is written anew."""
    answer = read("iam", IAM_REGION, "get_role_policy", RoleName=ROLE, PolicyName=POLICY)
    document, place = answer["PolicyDocument"], inputs["place"]
    document = json.loads(document) if isinstance(document, str) else document
    if document != json.loads(permission(place["account"], place.get("partition", "aws"))):
        raise NotFound(f"the policy of the role {ROLE} is not ours")
    return ResourceState(POLICY, "ready", "there")


def kept(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """The role and its policy belong to all runs."""
    raise Rejected(f"{ROLE} belongs to all runs", f"`aws iam delete-role --role-name {ROLE}` when no run is left")


def create_limit(inputs: Mapping[str, Any]) -> ResourceState:
    """Schedule the end of the instance at the deadline. Raises provider errors."""
    region, needs, name = inputs["place"]["region"], inputs["needs"], inputs["name"]
    partition = inputs["place"].get("partition", "aws")
    at = datetime.fromtimestamp(int(inputs["expires"]), UTC)
    try:
        change(
            *("scheduler", region, "create_schedule"),
            Name=name,
            Description=f"{OURS}{inputs['run']}",
            ScheduleExpression=f"at({at:%Y-%m-%dT%H:%M:%S})",
            ScheduleExpressionTimezone="UTC",
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            ClientToken=inputs["token"],
            Target={
                "Arn": f"arn:{partition}:scheduler:::aws-sdk:ec2:terminateInstances",
                "RoleArn": needs["time-limit-role"]["arn"],
                "Input": json.dumps({"InstanceIds": [needs["machine"]["id"]]}),
                "RetryPolicy": {"MaximumRetryAttempts": 20, "MaximumEventAgeInSeconds": 86400},
            },
        )
    except AlreadyThere as error:
        if ours := find_limit(inputs):
            return ours[0]
        raise Rejected(error.message, f"a schedule `{name}` that is not ours is in the way") from None
    return ResourceState(name, "building", "asked for")


def find_limit(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """The schedule of that name, if it is ours."""
    try:
        answer = read("scheduler", inputs["place"]["region"], "get_schedule", Name=inputs["name"])
    except NotFound:
        return []
    return [ResourceState(inputs["name"], "ready", "there")] if is_ours(answer) else []


def is_ours(schedule: Mapping[str, Any]) -> bool:
    """Whether we made it (the answer of GetSchedule)."""
    return str(schedule.get("Description") or "").startswith(OURS)


def limit_status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound, also when it has done its work: it removes itself then."""
    answer = read("scheduler", inputs["place"]["region"], "get_schedule", Name=id)
    return ResourceState(id, "ready", "there", owner=None if is_ours(answer) else "")


def delete_limit(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Raises NotFound."""
    change("scheduler", inputs["place"]["region"], "delete_schedule", Name=id)


def expiry(schedule: Mapping[str, Any]) -> float | None:
    """When it fires, in epoch seconds."""
    found = re.fullmatch(AT, str(schedule.get("ScheduleExpression", "")))
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp() if found else None


TIME_LIMIT_ROLE = Driver(create_role, find_role, role_status, kept, bills=False, shared=True, ready_s=120.0)
TIME_LIMIT_POLICY = Driver(create_policy, find_policy, policy_status, kept, bills=False, shared=True, ready_s=120.0)
TIME_LIMIT = Driver(create_limit, find_limit, limit_status, delete_limit, bills=False, ready_s=120.0)
