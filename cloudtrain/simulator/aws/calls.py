"""The fake's smaller calls that moto lacks or answers too kindly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from cloudtrain.simulator.aws import schedules, tables
from cloudtrain.simulator.aws.account import AwsAccount
from cloudtrain.simulator.aws.wire import Call, Refused, answer, ask_moto, backend
from cloudtrain.simulator.http_server import Reply


def create_schedule(cloud: AwsAccount, call: Call) -> Reply:
    """CreateSchedule, perhaps one that lists do not know at once."""
    reply = schedules.create(cloud, call)
    if reply.status < 300 and (stale := cloud.faults.take(call.name, "stale")):
        cloud.hide("schedule", call.region, call.given["Name"], stale.seconds)
    return reply


def create_group(cloud: AwsAccount, call: Call) -> Reply:
    """CreateSecurityGroup in the default VPC when none is named."""
    vpc = backend("ec2", cloud.account, call.region).get_default_vpc()
    if vpc is None:
        raise Refused("VPCIdNotSpecified", "No default VPC for this user")
    reply = ask_moto(call, cloud.account, {} if call.given.get("VpcId") else {"VpcId": vpc.id})
    found = re.search(r"<groupId>(sg-[0-9a-f]+)<", reply.body.decode())
    if reply.status < 300 and found and (stale := cloud.faults.take(call.name, "stale")):
        cloud.hide("group", call.region, found[1], stale.seconds)
    return reply


def delete_group(cloud: AwsAccount, call: Call) -> Reply:
    """DeleteSecurityGroup, refused while a machine that is not terminated is in it."""
    wanted = call.given.get("GroupId", "")
    for machine in cloud.machines.values():
        if wanted in machine.groups and machine.state != "terminated":
            raise Refused("DependencyViolation", f"resource {wanted} has a dependent object")
    return ask_moto(call, cloud.account)


def create_role(cloud: AwsAccount, call: Call) -> Reply:
    """CreateRole; `stale`: other services do not know the role at once."""
    reply = ask_moto(call, cloud.account)
    if reply.status < 300 and (stale := cloud.faults.take(call.name, "stale")):
        cloud.role_known_at[call.given["RoleName"]] = cloud.clock.now() + stale.seconds
    return reply


def delete_volume(cloud: AwsAccount, call: Call) -> Reply:
    """DeleteVolume, and the end of its bill."""
    reply = ask_moto(call, cloud.account)
    if reply.status < 300:
        cloud.ledger.close(call.given["VolumeId"])
    return reply


def describe_spot_requests(cloud: AwsAccount, call: Call) -> Reply:
    """DescribeSpotInstanceRequests with the filters state, tag-key and tag:<key>. Raises Refused for others."""
    here = [each for each in cloud.spot_requests.values() if each["region"] == call.region]
    for wanted in call.given.get("SpotInstanceRequestIds", []):
        if wanted not in {each["SpotInstanceRequestId"] for each in here}:
            raise Refused(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{wanted}' does not exist"
            )
        here = [each for each in here if each["SpotInstanceRequestId"] == wanted]
    for each in call.given.get("Filters", []):
        here = [request for request in here if _passes(request, each["Name"], each["Values"])]
    return answer(call, {"SpotInstanceRequests": here})


def _passes(request: Mapping[str, Any], name: str, values: list[str]) -> bool:
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    if name == "state":
        return request["State"] in values
    if name == "tag-key":
        return any(key in tags for key in values)
    if name.startswith("tag:"):
        return any(fnmatchcase(tags.get(name[4:], "\0"), value) for value in values)
    raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")


def cancel_spot_requests(cloud: AwsAccount, call: Call) -> Reply:
    """CancelSpotInstanceRequests: the machine of an active one keeps running."""
    changes = []
    for wanted in call.given.get("SpotInstanceRequestIds", []):
        request = cloud.spot_requests.get(wanted)
        if request is None:
            raise Refused(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{wanted}' does not exist"
            )
        if request["State"] in ("open", "active"):
            request["State"] = "cancelled"
        changes.append({"SpotInstanceRequestId": wanted, "State": request["State"]})
    return answer(call, {"CancelledSpotInstanceRequests": changes})


def get_quota(cloud: AwsAccount, call: Call) -> Reply:
    """GetServiceQuota for the EC2 codes of the tables."""
    code = call.given["QuotaCode"]
    if call.given["ServiceCode"] != "ec2" or code not in cloud.quotas:
        raise Refused("NoSuchResourceException", "The request failed because the specified quota does not exist.")
    quota = {"ServiceCode": "ec2", "QuotaCode": code, "Value": cloud.quotas[code], "Unit": "None", "Adjustable": True}
    return answer(call, {"Quota": quota})


def get_parameter(cloud: AwsAccount, call: Call) -> Reply:
    """GetParameter for the public image parameters."""
    image = tables.IMAGES.get(call.given["Name"])
    if image is None:
        raise Refused("ParameterNotFound", "")
    return answer(call, {"Parameter": {"Name": call.given["Name"], "Type": "String", "Value": image[0], "Version": 1}})
