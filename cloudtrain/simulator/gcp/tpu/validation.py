"""What the fake Cloud TPU API refuses in a request for a queued resource, and the times that are written in one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.gcp.tpu.catalog import FLEX, Refusal
from cloudtrain.simulator.gcp.tpu.schema import instant, seconds

Document = dict[str, Any]
SHORTEST_FLEX_S, LONGEST_FLEX_S = 600.0, 7 * 86400.0  # of a run duration
MODELS_WITHOUT_TIER = ("FLEX_START", "STANDARD", "SPOT")


def checked_spec(body: Mapping[str, Any], parent: str) -> tuple[str, Document]:
    """Node id and node of a request for one node in `parent`. Raises Refusal for what the real API refuses."""
    specs = body.get("tpu", {}).get("nodeSpec", [])
    if len(specs) != 1:
        raise _invalid("exactly one node spec is served here")
    spec = specs[0]
    node_id, node = str(spec.get("nodeId", "")), dict(spec.get("node", {}))
    if not re.fullmatch(r"[A-Za-z0-9_.~+%-]{1,63}", node_id):
        raise _invalid(f"node id {node_id!r}")
    if spec.get("parent") != parent:
        raise _invalid("the node's parent is not the request's")
    tiers = [tier for tier in ("spot", "guaranteed", "bestEffort") if tier in body]
    if len(tiers) > 1 or bool(tiers) == (body.get("provisioningModel") in MODELS_WITHOUT_TIER):
        raise _invalid("one of spot, guaranteed or a provisioning model is needed")
    _check_node(node)
    return node_id, node


def valid_until(body: Mapping[str, Any], now: float) -> float | None:
    """When a request stops waiting, in epoch seconds. Raises Refusal for a time that has passed."""
    policy = body.get("queueingPolicy", {})
    if len(policy) > 1:
        raise _invalid("only one way of waiting can be given")
    if "validUntilTime" in policy:
        until = instant(policy["validUntilTime"])
    elif "validUntilDuration" in policy:
        until = now + seconds(policy["validUntilDuration"])
    else:
        return None
    if until <= now:
        raise _invalid("valid-until is in the past")
    return until


def check_flex(body: Mapping[str, Any], now: float) -> None:
    """Raise Refusal when the run duration does not go with the provisioning model, the chip, or its limits."""
    flex = body.get("provisioningModel") == "FLEX_START"
    if not flex:
        if "runDuration" in body:
            raise _invalid("a run duration needs the provisioning model FLEX_START")
        return
    spec = body.get("tpu", {}).get("nodeSpec", [{}])[0]
    accelerator = str(spec.get("node", {}).get("acceleratorType", ""))
    zone = str(spec.get("parent", "")).rpartition("/")[2]
    if zone not in FLEX.get(accelerator.partition("-")[0], ()):
        raise _invalid(f"{accelerator} cannot be rented by flex-start in {zone}")
    runs_s = flex_seconds(body, now)
    if runs_s is None or not SHORTEST_FLEX_S <= runs_s <= LONGEST_FLEX_S:
        raise _invalid("the run duration must be between 10 minutes and 7 days")


def flex_seconds(body: Mapping[str, Any], now: float) -> float | None:
    """For how long the node of a flex-start request runs from now on; None when nothing limits it."""
    run = body.get("runDuration", {})
    if "terminationTime" in run:
        return instant(run["terminationTime"]) - now
    return seconds(run["maxRunDuration"]) if "maxRunDuration" in run else None


def _check_node(node: Mapping[str, Any]) -> None:
    for key, value in node.get("labels", {}).items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise _invalid(f"label {key}={value}")
    if sum(len(value) for value in node.get("metadata", {}).values()) > 256 * 1024:
        raise _invalid("metadata is larger than 256 KB")
    if "networkConfig" in node and "networkConfigs" in node:
        raise _invalid("network_config and network_configs exclude each other")


def _invalid(message: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", f"Invalid request: {message}.")
