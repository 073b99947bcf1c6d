"""Queued resources of the Cloud TPU API, and the nodes in them: asked for, found again, judged, deleted.

Two versions of one API: v2 by gRPC, and v2alpha1 by REST for flex-start, which the typed client does not know. Either
way a document here is the REST form. A queued resource that FAILED or is SUSPENDED, and a node that is PREEMPTED, hold
their names and the quota until they are deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cloudtrain.errors import NoCapacity, NotFound, ProviderError, Rejected, Unavailable
from cloudtrain.providers import ResourceState

from .._lifecycle import boot
from .._lifecycle.names import KEY
from . import rest
from .errors import AlreadyThere, provider_error
from .service_account import TPU_SCOPE
from .tpu import LONGEST_FLEX_DAYS
from .tpu_client import ask
from .tpu_startup import startup_script

Document = dict[str, Any]
_WAITING = frozenset({"CREATING", "ACCEPTED", "PROVISIONING", "WAITING_FOR_RESOURCES"})
_ENDED = frozenset({"FAILED", "SUSPENDING", "SUSPENDED"})
_NODE_BUILDING = frozenset({"CREATING", "STARTING", "RESTARTING", "REIMAGING", "REPAIRING"})
# Numbers of google.rpc.Code, the form of a failed queued resource's reason.
_CODES = {3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 16: "UNAUTHENTICATED"}


def parent_of(inputs: Mapping[str, Any]) -> str:
    """The zone's full name."""
    return f"projects/{inputs['place']['project']}/locations/{inputs['place']['zone']}"


def queued_path(inputs: Mapping[str, Any]) -> str:
    """The queued resource's full name: its id here."""
    return f"{parent_of(inputs)}/queuedResources/{inputs['name']}"


def node_path(inputs: Mapping[str, Any]) -> str:
    """The node's full name. Node and queued resource have the same last part."""
    return f"{parent_of(inputs)}/nodes/{inputs['name']}"


def rfc3339(epoch_s: float) -> str:
    """An instant as Google's APIs write it."""
    return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def create_queued(inputs: Mapping[str, Any]) -> ResourceState:
    """Ask for a spot or guaranteed slice through v2. It stops waiting for capacity at the deadline by itself."""
    body: Document = {
        **_request(inputs),
        ("spot" if inputs["spot"] else "guaranteed"): {},
    }

    def send() -> None:
        from google.cloud.tpu_v2.types import CreateQueuedResourceRequest, QueuedResource
        from google.protobuf.json_format import ParseDict

        message = QueuedResource()
        ParseDict(body, QueuedResource.pb(message))
        request = CreateQueuedResourceRequest(
            parent=parent_of(inputs),
            queued_resource_id=inputs["name"],
            queued_resource=message,
            request_id=inputs["request_id"],
        )
        ask("create_queued_resource", request, mutating=True)

    return _create(inputs, send)


def create_flex(inputs: Mapping[str, Any]) -> ResourceState:
    """Ask for a flex-start slice through v2alpha1; Google deletes its node at the deadline."""
    body = {
        **_request(inputs),
        "provisioningModel": "FLEX_START",
        "runDuration": {"terminationTime": rfc3339(inputs["expires"])},
    }

    def send() -> None:
        query = {"queuedResourceId": inputs["name"], "requestId": inputs["request_id"]}
        rest.call(rest.TPU, "POST", f"/{parent_of(inputs)}/queuedResources", query=query, body=body)

    try:
        return _create(inputs, send)
    except AlreadyThere:
        raise
    except Rejected as error:
        longest = 24 * LONGEST_FLEX_DAYS - 1
        hint = f"flex-start runs from 10 minutes to {LONGEST_FLEX_DAYS} days: --max-hours {longest} or less"
        raise Rejected(error.message, hint) from None


def find_queued(inputs: Mapping[str, Any]) -> list[ResourceState]:
    """The queued resource of ours in whatever state, else the node of ours that has lost it."""
    for path in (queued_path(inputs), node_path(inputs)):
        try:
            document = get(inputs, path)
        except NotFound:
            continue
        ours = inputs["tags"][KEY]
        if labels_of(document).get(KEY, ours) == ours:  # without a label the name, with the run's key in it, says it
            return [_seen(inputs, document)]
    return []


def status_queued(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002  # the seam's word
    """What it is now. Raises NotFound, and for a request that Google has abandoned the reason, mostly NoCapacity."""
    document = get(inputs, id)
    if state_of(document) == "FAILED":
        raise _reason(document)
    return _seen(inputs, document)._replace(owner=labels_of(document).get(KEY))


def delete_queued(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """Ask for the end of the queued resource with its node; of the node alone when there is no queued resource.

    Raises NotFound when there is neither, Unavailable when Google will not do it in the present state.
    """
    try:
        _remove(inputs, id)
    except NotFound:
        if "/queuedResources/" not in id:
            raise
        _remove(inputs, id.replace("/queuedResources/", "/nodes/"))


find_flex, status_flex, delete_flex = find_queued, status_queued, delete_queued


def get(inputs: Mapping[str, Any], path: str) -> Document:
    """The REST form of what has this full name. Raises NotFound."""
    if "/nodes/" in path:
        return _typed("get_node", path)
    if inputs.get("api") == "v2alpha1":
        return rest.call(rest.TPU, "GET", f"/{path}")
    return _typed("get_queued_resource", path)


def state_of(document: Mapping[str, Any]) -> str:
    """The provider's word for the state of a queued resource or a node."""
    state = document.get("state") or "STATE_UNSPECIFIED"
    return str(state.get("state") or "STATE_UNSPECIFIED") if isinstance(state, Mapping) else str(state)


def labels_of(document: Mapping[str, Any]) -> dict[str, str]:
    """A node's labels, or those that a queued resource gives its node: it has none of its own."""
    specs = document.get("tpu", {}).get("nodeSpec") or []
    return dict(specs[0].get("node", {}).get("labels") or {} if specs else document.get("labels") or {})


def _request(inputs: Mapping[str, Any]) -> Document:
    node: Document = {
        "acceleratorType": inputs["accelerator"],
        "runtimeVersion": inputs["runtime"],
        "labels": dict(inputs["tags"]),
        # Without an address of its own a node reaches nothing outside, not even a package index.
        "networkConfig": {"enableExternalIps": True},
    }
    if worker := inputs.get("worker"):
        node["serviceAccount"] = {"email": worker, "scope": [TPU_SCOPE]}
        job = boot.shell(inputs, "limit=0 && watch")
        node["metadata"] = {"startup-script": startup_script(queued_path(inputs), inputs["expires"], job)}
    spec = {"parent": parent_of(inputs), "nodeId": inputs["name"], "node": node}
    return {"tpu": {"nodeSpec": [spec]}, "queueingPolicy": {"validUntilTime": rfc3339(inputs["expires"])}}


def _create(inputs: Mapping[str, Any], send: Any) -> ResourceState:
    try:
        send()
    except AlreadyThere:
        if found := find_queued(inputs):
            return found[0]
        raise
    except NotFound as error:  # the zone does not have this slice
        raise NoCapacity(error.message, "try another zone") from None
    return ResourceState(queued_path(inputs), "building", "asked for")


def _seen(inputs: Mapping[str, Any], document: Mapping[str, Any]) -> ResourceState:
    path, state = str(document["name"]), state_of(document)
    if "/nodes/" in path:
        return _seen_node(path, document)
    if state == "ACTIVE":
        try:
            node = _seen_node(path, get(inputs, node_path(inputs)))
        except NotFound:
            return ResourceState(path, "ended", "ACTIVE, but its node is gone")
        return node._replace(message=f"ACTIVE, its node {node.message}")
    if state in _ENDED:
        return ResourceState(path, "ended", state)
    return ResourceState(path, "deleting" if state == "DELETING" else "building", state)


def _seen_node(path: str, node: Mapping[str, Any]) -> ResourceState:
    state = state_of(node)
    workers = [
        {"inside": end.get("ipAddress", ""), "outside": end.get("accessConfig", {}).get("externalIp", "")}
        for end in node.get("networkEndpoints") or []
    ]
    outputs = {"node": str(node["name"]), "workers": workers}
    if state == "READY":
        return ResourceState(path, "ready", state, outputs)
    if state in _NODE_BUILDING:
        return ResourceState(path, "building", state, outputs)
    return ResourceState(path, "deleting" if state == "DELETING" else "ended", state, outputs)


def _reason(document: Mapping[str, Any]) -> ProviderError:
    error = document.get("state", {}).get("failedData", {}).get("error") or {}
    message = str(error.get("message") or "the request failed")
    code = _CODES.get(int(error.get("code") or 0), "")
    found = provider_error([code] if code else [], message)
    stockout = code == "RESOURCE_EXHAUSTED" and "quota" not in message.lower()
    if stockout or (type(found) is Rejected and code != "INVALID_ARGUMENT"):
        # Valid-until has passed, or INTERNAL after minutes: in practice both mean that nothing was to be had.
        return NoCapacity(f"the Cloud TPU API abandoned the request: {message[:200]}", "try another zone")
    return found


def _remove(inputs: Mapping[str, Any], path: str) -> None:
    try:
        if "/nodes/" in path:
            ask("delete_node", {"name": path}, mutating=True)
        elif inputs.get("api") == "v2alpha1":
            rest.call(rest.TPU, "DELETE", f"/{path}", query={"force": "true"})
        else:
            ask("delete_queued_resource", {"name": path, "force": True}, mutating=True)
    except Rejected as error:
        if state_of(get(inputs, path)) != "DELETING":
            raise Unavailable(error.message, "try again in a minute") from None


def _typed(verb: str, path: str) -> Document:
    from google.protobuf.json_format import MessageToDict

    answer = ask(verb, {"name": path}, mutating=False)
    document: Document = MessageToDict(type(answer).pb(answer))
    return document
