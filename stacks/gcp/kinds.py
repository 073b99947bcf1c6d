"""The kinds of things that Compute Engine makes for us: where each lives, what its insert says, what its answer means.

The time limit is `terminationTime`, the instant itself, and not `maxRunDuration`: a request that arrives late, a
machine that a group makes again and a client with a wrong clock then change nothing about when it ends. Google's page
on time limits in groups knows both for templates. For FLEX_START the duration is the documented one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from cloudtrain.errors import Rejected
from cloudtrain.providers import ResourceState

from .._lifecycle import boot, names
from . import service_account

Document = Mapping[str, Any]
State = Literal["building", "ready", "ended", "deleting"]
STATES: dict[str, State] = {
    **dict.fromkeys(("PENDING", "PROVISIONING", "STAGING", "REPAIRING"), "building"),
    "RUNNING": "ready",
    **dict.fromkeys(("STOPPING", "PENDING_STOP", "SUSPENDING"), "ended"),
    **dict.fromkeys(("STOPPED", "SUSPENDED", "TERMINATED", "DEPROVISIONING"), "ended"),
}
LONGEST_FLEX_S = 7 * 86400
_NOTE = re.compile(rf"({names.RUN}|{names.KEY}|{names.OWNER}|{names.EXPIRES})=([a-z0-9_-]*)")


class Noun(NamedTuple):
    """One kind: its collection, `zone` or `region`, the body of its insert, and what its document says."""

    collection: str
    level: str
    body: Callable[[Mapping[str, Any]], dict[str, Any]]
    seen: Callable[[Mapping[str, Any], Document], ResourceState]

    def folder(self, place: Mapping[str, Any]) -> str:
        """The path of its collection."""
        return f"/projects/{place['project']}/{self.level}s/{place[self.level]}/{self.collection}"


def tags_of(document: Document) -> dict[str, str]:
    """Our tags on a thing: its labels, or for kinds without labels the words of its description."""
    labels = document.get("labels") or (document.get("properties") or {}).get("labels") or {}
    return {**dict(_NOTE.findall(str(document.get("description") or ""))), **labels}


def note(tags: Mapping[str, str]) -> str:
    """The tags as a description."""
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def scheduling(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The market and the end at the plan's deadline. `model` is STANDARD, SPOT or FLEX_START.

    From the field: every TPU and every Spot machine has to be terminated at host maintenance.
    """
    expires, model = float(inputs["expires"]), str(inputs["model"])
    if model == "FLEX_START":
        seconds = int(min(expires - time.time(), LONGEST_FLEX_S))
        limit: dict[str, Any] = {"maxRunDuration": {"seconds": str(seconds)}}
    else:
        limit = {"terminationTime": datetime.fromtimestamp(int(expires), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {
        "provisioningModel": model,
        **limit,
        "instanceTerminationAction": "DELETE",
        "onHostMaintenance": "TERMINATE",
        "automaticRestart": False,
    }


def machine_properties(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What an instance and an instance template have in common, but for the machine type's form."""
    disk = {"diskSizeGb": str(inputs["disk_gb"]), "sourceImage": inputs["image"], "labels": inputs["tags"]}
    script = files("cloudtrain.templates").joinpath("machine", "gcp_startup.sh").read_text()
    # Inputs that an older version made name none: then there is none, rather than the default one.
    accounts = [inputs["service_account"]] if inputs.get("service_account") else []
    items = {
        "startup-script": script.replace("@DEADLINE@", str(int(inputs["expires"])))
        + boot.shell(inputs, "limit=0 && watch"),
        "enable-guest-attributes": "TRUE",
    }
    return {
        "labels": dict(inputs["tags"]),
        "scheduling": scheduling(inputs),
        "networkInterfaces": [
            {
                "network": "global/networks/default",
                "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}],
            }
        ],
        "serviceAccounts": [{"email": each, "scopes": [service_account.COMPUTE_SCOPE]} for each in accounts],
        "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
        "disks": [{"boot": True, "autoDelete": True, "initializeParams": disk}],
    }


def _instance_body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    zone, body = inputs["place"]["zone"], machine_properties(inputs)
    if inputs["model"] == "FLEX_START":  # what is not to be had at once is asked for elsewhere
        body["params"] = {"requestValidForDuration": {"seconds": "0"}}
    if inputs.get("disk_type"):
        disk = body["disks"][0]["initializeParams"]
        disk["diskType"] = f"zones/{zone}/diskTypes/{inputs['disk_type']}"
    return {"name": inputs["name"], "machineType": f"zones/{zone}/machineTypes/{inputs['machine_type']}", **body}


def _instance_seen(inputs: Mapping[str, Any], document: Document) -> ResourceState:
    status = str(document.get("status"))
    access = [
        (port.get("networkIP", ""), (port.get("accessConfigs") or [{}])[0].get("natIP", ""))
        for port in document.get("networkInterfaces") or []
    ]
    outputs = {
        "status": status,
        "addresses": [external or internal for internal, external in access if external or internal],
        "number": str(document.get("id", "")),
    }
    return ResourceState(str(document["name"]), STATES.get(status, "building"), status, outputs)


def _template_body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"machineType": inputs["machine_type"], **machine_properties(inputs)}
    return {"name": inputs["name"], "description": note(inputs["tags"]), "properties": properties}


def _policy_body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": inputs["name"],
        "description": note(inputs["tags"]),
        "workloadPolicy": {
            "type": "HIGH_THROUGHPUT",
            "acceleratorTopology": inputs["topology"],
            "acceleratorTopologyMode": "AUTO_CONNECT",
        },
    }


def _link(inputs: Mapping[str, Any], role: str, collection: str) -> str:
    place = inputs["place"]
    needed = (inputs.get("needs") or {}).get(role)
    if not needed:
        raise Rejected(f"{inputs['role']} needs {role}, which has not been made")
    project, region = place["project"], place["region"]
    root = "https://www.googleapis.com/compute/v1"
    return f"{root}/projects/{project}/regions/{region}/{collection}/{needed['id']}"


def _group_body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": inputs["name"],
        "description": note(inputs["tags"]),
        "baseInstanceName": inputs["name"],
        "instanceTemplate": _link(inputs, "template", "instanceTemplates"),
        "targetSize": inputs["hosts"],
        "targetSizePolicy": {"mode": "BULK"},
        "resourcePolicies": {"workloadPolicy": _link(inputs, "policy", "resourcePolicies")},
        "instanceLifecyclePolicy": {"defaultActionOnFailure": "DO_NOTHING"},
    }


def _group_seen(inputs: Mapping[str, Any], document: Document) -> ResourceState:
    wanted = int(inputs.get("hosts") or document.get("targetSize") or 0)
    actions = document.get("currentActions") or {}
    running, size = int(actions.get("none") or 0), int(document.get("targetSize") or 0)
    stable = bool((document.get("status") or {}).get("isStable"))
    message = f"{running} of {wanted} hosts"
    state: State = "building"
    if size < wanted or not wanted:
        state, message = "ended", f"{message}, and the group wants {size}"
    elif stable and running >= wanted:
        state = "ready"
    return ResourceState(
        str(document["name"]), state, message, {"hosts": wanted, "group": str(document.get("instanceGroup", ""))}
    )


def _free_seen(inputs: Mapping[str, Any], document: Document) -> ResourceState:
    status = str(document.get("status") or "READY")
    state: State = {"CREATING": "building", "DELETING": "deleting"}.get(status, "ready")  # type: ignore[assignment]
    return ResourceState(str(document["name"]), state, status)


def _no_body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    raise Rejected("a disk is made with its machine, never by itself")


NOUNS: Mapping[str, Noun] = {
    "workload_policy": Noun("resourcePolicies", "region", _policy_body, _free_seen),
    "instance_template": Noun("instanceTemplates", "region", _template_body, _free_seen),
    "disk": Noun("disks", "zone", _no_body, _free_seen),
    "instance_group": Noun("instanceGroupManagers", "zone", _group_body, _group_seen),
    "instance": Noun("instances", "zone", _instance_body, _instance_seen),
}
