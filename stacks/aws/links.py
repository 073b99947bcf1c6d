"""Where a person looks at a thing in AWS's console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAGES = {
    "i-": "ec2/home?region={region}#InstanceDetails:instanceId={id}",
    "sg-": "ec2/home?region={region}#SecurityGroup:groupId={id}",
    "vol-": "ec2/home?region={region}#VolumeDetails:volumeId={id}",
    "sir-": "ec2/home?region={region}#SpotInstancesDetails:id={id}",
    "ct-": "scheduler/home?region={region}#schedules/default/{id}",
}


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002
    """The console page of one of our things; the role's page for everything else."""
    region = inputs["place"]["region"]
    page = next((page for prefix, page in PAGES.items() if id.startswith(prefix)), "iam/home#/roles/details/{id}")
    return f"https://{region}.console.aws.amazon.com/{page.format(region=region, id=id)}"
