"""The EC2 instance of a run, and what may outlive it: a spot request and a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cloudtrain.errors import NoCapacity, NotFound, ProviderError, Quota, Rejected, Unavailable, Unknown
from cloudtrain.providers import Driver, ResourceState

from .._lifecycle import boot
from .._lifecycle.names import KEY
from .client import change, owner, read, read_all, tag_list
from .errors import QUOTA_PAGE, AlreadyThere
from .shapes import ROOT_DEVICE, quota_code, quota_link

State = Literal["building", "ready", "ended", "deleting"]
STATES: dict[str, State] = {
    "pending": "building",
    "running": "ready",
    "stopping": "ended",
    "stopped": "ended",
    "shutting-down": "deleting",
}
NO_CAPACITY = (
    *("Server.InsufficientInstanceCapacity", "Server.InsufficientCapacity"),
    *("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown"),
)


class Abandoned(NoCapacity, NotFound):
    """Accepted, then ended by AWS for lack of capacity: gone, and the reason to try elsewhere."""


def user_data(deadline: float, job: str = "") -> str:
    """The script with which the machine ends itself at `deadline` (epoch seconds) and begins its job, if it has one.

    EC2 takes at most 16 KiB of it.
    """
    from importlib.resources import files

    text = files("cloudtrain.templates").joinpath("machine", "aws_user_data.sh").read_text()
    return text.replace("@DEADLINE@", str(int(deadline))) + job


def request(inputs: Mapping[str, Any], subnet: str | None) -> dict[str, Any]:
    """The arguments of RunInstances: pure, so that a repeat with the same token is the same request."""
    tags = tag_list({**inputs["tags"], "Name": inputs["name"]})
    kinds = ["instance", "volume", "network-interface"] + ["spot-instances-request"] * (inputs["market"] == "spot")
    disk = {"VolumeSize": inputs["disk_gb"], "VolumeType": "gp3", "DeleteOnTermination": True}
    if "disk_mb_per_s" in inputs:  # inputs that an older version made name none: gp3 has 125 then
        disk["Throughput"] = inputs["disk_mb_per_s"]
    arguments: dict[str, Any] = {
        "ClientToken": inputs["token"],
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": inputs["image"],
        "InstanceType": inputs["type"],
        "InstanceInitiatedShutdownBehavior": "terminate",
        # A hop more than the machine itself, for containers.
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2, "InstanceMetadataTags": "enabled"},
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
        "BlockDeviceMappings": [{"DeviceName": ROOT_DEVICE, "Ebs": disk}],
        "SecurityGroupIds": [inputs["needs"]["firewall"]["id"]],
        "UserData": user_data(inputs["expires"], boot.shell(inputs, "shutdown -h now")),  # boto3 encodes it
    }
    if subnet:
        arguments["SubnetId"] = subnet
    if inputs["market"] == "spot":
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        arguments["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return arguments


def create(inputs: Mapping[str, Any]) -> ResourceState:
    """Start it. Raises provider errors; Quota with the quota's code and the link where more is asked for."""
    region = inputs["place"]["region"]
    arguments = request(inputs, default_subnet(region, inputs["place"].get("zone", "")))
    try:
        made = change("ec2", region, "run_instances", **arguments)
    except AlreadyThere as error:  # the token made something before, from a request that AWS reads otherwise
        if ours := find(inputs):
            return ours[0]
        raise Unknown(f"the token was used before, and nothing of it is to be seen yet: {error.message}") from None
    except NotFound as error:
        if "InvalidGroup" in error.message:
            raise Unavailable(error.message, "the new security group is not known everywhere yet") from None
        raise Rejected(error.message, error.hint) from None
    except Quota as error:
        code = quota_code(inputs["type"], inputs["market"])
        where = quota_link(code, region) if code else QUOTA_PAGE
        raise Quota(f"{error.message}, quota {code or 'unknown'}", f"ask for more at {where}") from None
    return seen(made["Instances"][0])


def default_subnet(region: str, zone: str) -> str | None:
    """The default subnet of a zone id (`use1-az5`); None without a zone: then EC2 chooses one."""
    if not zone:
        return None
    filters = [
        {"Name": "availability-zone-id", "Values": [zone]},
        {"Name": "default-for-az", "Values": ["true"]},
    ]
    subnets = read_all("ec2", region, "describe_subnets", "Subnets", Filters=filters)
    if not subnets:
        raise Rejected(
            f"the zone {zone} has no default subnet",
            f"`aws ec2 create-default-subnet --region {region} --availability-zone <the zone's name>` makes one",
        )
    return str(subnets[0]["SubnetId"])


def seen(instance: Mapping[str, Any]) -> ResourceState:
    """An instance as a ResourceState. One that is terminated is `ended`; see `status`."""
    state = instance["State"]["Name"]
    reason = instance.get("StateReason", {}).get("Code", "")
    outputs = {
        "address": instance.get("PublicIpAddress", ""),
        "private_address": instance.get("PrivateIpAddress", ""),
        "zone": instance.get("Placement", {}).get("AvailabilityZone", ""),
        "spot_request": instance.get("SpotInstanceRequestId", ""),
    }
    return ResourceState(
        instance["InstanceId"], STATES.get(state, "ended"), f"{state} {reason}".strip(), outputs, owner(instance)
    )


def instances(region: str, filters: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All that match and are not terminated."""
    existing = [*filters, {"Name": "instance-state-name", "Values": list(STATES)}]
    answers = read_all("ec2", region, "describe_instances", "Reservations", Filters=existing)
    return [instance for answer in answers for instance in answer["Instances"]]


def find(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """Everything of that name and run that is not terminated."""
    filters = [
        {"Name": "tag:Name", "Values": [inputs["name"]]},
        {"Name": f"tag:{KEY}", "Values": [inputs["tags"][KEY]]},
    ]
    return [seen(instance) for instance in instances(inputs["place"]["region"], filters)]


def status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound also for a terminated one; GivenUp or Quota when AWS ended it for that."""
    answer = read("ec2", inputs["place"]["region"], "describe_instances", InstanceIds=[id])
    found = [instance for each in answer["Reservations"] for instance in each["Instances"]]
    if not found:
        raise NotFound(f"EC2 does not know {id}")
    if found[0]["State"]["Name"] != "terminated":
        return seen(found[0])
    raise ended_because(id, found[0].get("StateReason", {}))


def ended_because(id: str, reason: Mapping[str, str]) -> ProviderError:  # noqa: A002
    """Why a terminated instance is one."""
    code = reason.get("Code", "")
    message = f"{id} is terminated: {reason.get('Message') or code or 'no reason given'}"
    if code in NO_CAPACITY:
        return Abandoned(message, "another zone, region or market may have it")
    return NotFound(message)


def delete(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Terminate it: one id in one call, because one that is not known spoils a whole list. Raises NotFound."""
    change("ec2", inputs["place"]["region"], "terminate_instances", InstanceIds=[id])


def cancel_request(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """No machine comes of the spot request any more; one that came of it is not touched. Raises NotFound."""
    change("ec2", inputs["place"]["region"], "cancel_spot_instance_requests", SpotInstanceRequestIds=[id])


def request_status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound for one that can make nothing any more."""
    where = inputs["place"]["region"]
    answer = read("ec2", where, "describe_spot_instance_requests", SpotInstanceRequestIds=[id])
    state = answer["SpotInstanceRequests"][0]["State"] if answer["SpotInstanceRequests"] else "unknown"
    if state not in ("open", "active"):
        raise NotFound(f"spot request {id} is {state}")
    return ResourceState(id, "ready", state)


def delete_volume(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Raises NotFound, and Unavailable while it is attached."""
    try:
        change("ec2", inputs["place"]["region"], "delete_volume", VolumeId=id)
    except Rejected as error:
        if "VolumeInUse" in error.message:
            raise Unavailable(error.message, error.hint) from None
        raise


def volume_status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound."""
    volume = read("ec2", inputs["place"]["region"], "describe_volumes", VolumeIds=[id])["Volumes"][0]
    return ResourceState(id, "deleting" if volume["State"] == "deleting" else "ended", volume["State"])


def never_made(inputs: Mapping[str, Any]) -> ResourceState:
    """EC2 makes these itself, for an instance."""
    raise Rejected("this is made by EC2, with an instance")


def nothing(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """They are found by tag (`list_owned`), not by inputs."""
    return ()


INSTANCE = Driver(create, find, status, delete)
SPOT_REQUEST = Driver(never_made, nothing, request_status, cancel_request, bills=False)
VOLUME = Driver(never_made, nothing, volume_status, delete_volume)
