"""The security group of a run: nothing may come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloudtrain.errors import Rejected
from cloudtrain.providers import Driver, ResourceState

from .._lifecycle.names import KEY
from .client import change, owner, read, read_all, tag_list
from .errors import AlreadyThere

NO_VPC = "VPCIdNotSpecified"  # the account has removed its default VPC


def create(inputs: Mapping[str, Any]) -> ResourceState:
    """Make it in the region's default VPC, whose groups let everything out and nothing in. Raises provider errors."""
    region, name = inputs["place"]["region"], inputs["name"]
    try:
        made = change(
            *("ec2", region, "create_security_group"),
            GroupName=name,
            Description=f"cloudtrain run {inputs['run']}, no way in"[:255],
            TagSpecifications=[
                {"ResourceType": "security-group", "Tags": tag_list({**inputs["tags"], "Name": name})},
            ],
        )
    except AlreadyThere as error:
        if ours := find(inputs):
            return ours[0]
        raise Rejected(error.message, f"a security group `{name}` that is not ours is in the way") from None
    except Rejected as error:
        hint = f"`aws ec2 create-default-vpc --region {region}` makes one" if NO_VPC in error.message else error.hint
        raise Rejected(error.message, hint) from None
    return ResourceState(made["GroupId"], "building", "asked for")


def find(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """Ours of that name, by tag."""
    filters = [
        {"Name": "group-name", "Values": [inputs["name"]]},
        {"Name": f"tag:{KEY}", "Values": [inputs["tags"][KEY]]},
    ]
    groups = read_all("ec2", inputs["place"]["region"], "describe_security_groups", "SecurityGroups", Filters=filters)
    return [ResourceState(group["GroupId"], "ready", "there") for group in groups]


def status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
    """Raises NotFound."""
    answer = read("ec2", inputs["place"]["region"], "describe_security_groups", GroupIds=[id])
    return ResourceState(id, "ready", "there", owner=owner(answer["SecurityGroups"][0]))


def delete(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Raises NotFound, and Unavailable while a machine of it still ends."""
    change("ec2", inputs["place"]["region"], "delete_security_group", GroupId=id)


DRIVER = Driver(create, find, status, delete, bills=False, ready_s=120.0)
