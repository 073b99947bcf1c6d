"""EventBridge Scheduler as the fake has it: schedules that fire under the clock, with the rights of their role."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from cloudtrain.simulator.aws.account import AwsAccount, Machine
from cloudtrain.simulator.aws.machines import end
from cloudtrain.simulator.aws.wire import Call, Refused, answer, ask_moto, backend
from cloudtrain.simulator.http_server import Reply

TARGET = "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances"


def create(cloud: AwsAccount, call: Call) -> Reply:
    """CreateSchedule: the expression, the target's input and the role are looked at as AWS does. Raises Refused."""
    given, clock = call.given, cloud.clock
    key = (call.region, f"schedule/{given['Name']}")
    known: Any = schedules(cloud, call.region).get(given["Name"])
    if known is not None:
        if cloud.schedule_bodies.get(key) == call.request.body:
            return answer(call, {"ScheduleArn": known.arn})
        raise Refused("ConflictException", f"Schedule {given['Name']} already exists.", 409)
    at = moment(given["ScheduleExpression"])
    if at <= clock.now():
        raise Refused("ValidationException", "Invalid Schedule Expression: it lies in the past.")
    target = given["Target"]
    if target["Arn"] != TARGET:
        raise Refused("ValidationException", f"{target['Arn']} is not a target that this fake knows.")
    _instance_ids(target.get("Input", ""))
    if trusted(cloud, target["RoleArn"]) is None:
        raise Refused(
            "ValidationException",
            "The execution role you provide must allow AWS EventBridge Scheduler to assume the role.",
        )
    reply = ask_moto(call, cloud.account)
    if reply.status < 300:
        cloud.schedule_bodies[key] = call.request.body
        made: Any = schedules(cloud, call.region)[given["Name"]]
        clock.at(at, lambda: fire(cloud, call.region, made))
    return reply


def moment(expression: str) -> float:
    """Epoch seconds of `at(...)`. Raises Refused."""
    found = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", expression)
    if not found:
        raise Refused("ValidationException", f"Invalid Schedule Expression {expression}.")
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()


def schedules(cloud: AwsAccount, region: str) -> dict[str, Any]:
    """By name, of the default group."""
    found: dict[str, Any] = backend("scheduler", cloud.account, region).schedule_groups["default"].schedules
    return found


def _instance_ids(text: str) -> list[str]:
    try:
        document = json.loads(text)
        ids = document["InstanceIds"]
    except (ValueError, KeyError, TypeError):
        ids = None
    if not isinstance(ids, list) or set(document) != {"InstanceIds"}:
        raise Refused("ValidationException", "The target's input is not one of ec2:terminateInstances.")
    return [str(each) for each in ids]


def trusted(cloud: AwsAccount, arn: str) -> Any:
    """The role, if there is one that the scheduler may use and that every part of AWS knows by now."""
    name = arn.rsplit("/", 1)[-1]
    role = next((each for each in _roles(cloud) if each.arn == arn), None)
    if role is None or cloud.clock.now() < cloud.role_known_at.get(name, 0.0):
        return None
    trust = role.assume_role_policy_document
    document = json.loads(trust) if isinstance(trust, str) else trust
    services = [each.get("Principal", {}).get("Service") for each in document["Statement"]]
    return role if "scheduler.amazonaws.com" in services else None


def _roles(cloud: AwsAccount) -> Iterator[Any]:
    yield from backend("iam", cloud.account, "aws").roles.values()


def may_end(role: Any, machine: Machine) -> bool:
    """Whether the role's policies let it terminate a machine with these tags."""
    for text in role.policies.values():
        document = json.loads(text) if isinstance(text, str) else text
        for each in document["Statement"]:
            wanted = each.get("Condition", {}).get("StringLike", {})
            tagged = all(
                fnmatchcase(machine.tags.get(name.removeprefix("aws:ResourceTag/"), "\0"), pattern)
                for name, pattern in wanted.items()
            )
            if each["Effect"] == "Allow" and each["Action"] == "ec2:TerminateInstances" and tagged:
                return True
    return False


def fire(cloud: AwsAccount, region: str, schedule: Any) -> None:
    """What happens at the moment of a schedule, if it is still there."""
    there = schedules(cloud, region)
    still = any(each is schedule for each in there.values())
    if not still or schedule.state != "ENABLED" or not cloud.schedules_fire:
        return
    role = trusted(cloud, schedule.target["RoleArn"])
    for id_ in _instance_ids(schedule.target["Input"]):
        machine = cloud.machines.get(id_)
        if machine and role is not None and may_end(role, machine):
            end(cloud, machine, "Client.UserInitiatedShutdown", "User initiated shutdown")
    if schedule.action_after_completion == "DELETE":
        there.pop(schedule.name, None)
