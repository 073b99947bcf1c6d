"""One pod at RunPod: made with a timer in it, found by its name, looked at, deleted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from cloudtrain.endpoints import override
from cloudtrain.errors import NotFound, Unavailable, Unknown
from cloudtrain.providers import Driver, ResourceState

from .._lifecycle import boot
from . import api, names

State = Literal["building", "ready", "ended"]
STATES: Mapping[str, State] = {
    "PROVISIONING": "building",
    "STARTING": "building",
    "RUNNING": "ready",
    "EXITED": "ended",
    "ERROR": "ended",
}


def timer_args(job: str = "") -> str:
    """The container's arguments: the timer, packed into one line that needs no file in the image but python3.

    `job` is the text of the program that it starts next to itself.
    """
    import base64
    import zlib
    from importlib.resources import files

    source = files("cloudtrain.templates").joinpath("machine", "runpod_timer.py").read_text()
    source = source.replace('JOB = ""', f"JOB = {job!r}", 1)
    packed = base64.b64encode(zlib.compress(source.encode(), 9)).decode()
    unpack = f'exec(__import__("zlib").decompress(__import__("base64").b64decode("{packed}")))'
    return f"python3 -c '{unpack}'"


def body(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The document of POST /v2/pods. RunPod itself gives a pod the key that its timer uses.

    With a job it holds one secret, which reads one document and ends with the run: the address of the ticket.
    """
    env = {"CLOUDTRAIN_DEADLINE": str(int(inputs["expires"])), "CLOUDTRAIN_RUN": str(inputs["run"])}
    if address := override(api.URL):
        env[api.URL] = address
    if ticket := boot.ticket_url(inputs):
        env["CLOUDTRAIN_TICKET"] = ticket
    document: dict[str, Any] = {
        "name": inputs["name"],
        "image": inputs["image"],
        "cloud": "SECURE",
        "disk": inputs["disk_gb"],
        "args": timer_args(boot.program() if ticket else ""),
        "env": env,
    }
    if inputs["data_centers"]:
        document["dataCenterIds"] = list(inputs["data_centers"])
    if "gpu" in inputs:
        document["gpu"] = {"id": inputs["gpu"]["id"], "count": inputs["gpu"]["count"]}
    else:
        document["cpu"] = {"id": inputs["cpu"]["id"], "vcpuCount": inputs["cpu"]["count"]}
    return document


def seen(pod: Mapping[str, Any]) -> ResourceState:
    """A pod of the API as the seam knows it. A state that nobody knows counts as not there yet: patience ends it."""
    status = str(pod.get("status", ""))
    outputs = {"name": str(pod.get("name", "")), "data_center": str(pod.get("dataCenterId") or "")}
    if pod.get("cost") is not None:
        outputs["usd_per_hour"] = str(pod["cost"])
    ours = names.parse(pod.get("name"))
    renamed = "CLOUDTRAIN_RUN" in (pod.get("env") or {})  # by a person: whose it is, its journal knows
    owner = ours.key if ours else None if renamed else ""
    return ResourceState(str(pod["id"]), STATES.get(status, "building"), status or "no status", outputs, owner)


def create(inputs: Mapping[str, Any]) -> ResourceState:
    """One POST. Raises Unknown when a pod may have been made without our knowing its id."""
    api.check_place(inputs["place"])
    pod = api.create("/v2/pods", body(inputs))
    if not pod.get("id"):
        raise Unknown("RunPod made a pod and did not say which")
    return seen(pod)


def listed(query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """All pods that are not gone for good."""
    return (pod for pod in api.pages("/v2/pods", "pods", query) if pod.get("status") != "TERMINATED")


def find(inputs: Mapping[str, Any]) -> Sequence[ResourceState]:
    """Every pod of the run's attempt, in any state: names are not unique, so there may be several."""
    api.check_place(inputs["place"])
    mine = names.attempt_of(inputs["name"])
    return [seen(pod) for pod in listed() if mine is not None and names.attempt_of(pod.get("name")) == mine]


def status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002  # the seam's word
    """GET. Raises NotFound when it is gone, which it also is when RunPod still tells us of its end."""
    api.check_place(inputs["place"])
    pod = api.read(f"/v2/pods/{quoted(id)}")
    if pod.get("status") == "TERMINATED":
        raise NotFound(f"RunPod says that pod {id} is TERMINATED")
    if not pod.get("id"):
        raise Unavailable("RunPod's answer is no pod", "try again")
    return seen(pod)


def delete(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
    """DELETE. Never a stop: a stopped pod keeps costing. With another account's key a 404 would be no proof."""
    api.check_place(inputs["place"])
    api.delete(f"/v2/pods/{quoted(id)}")


def quoted(id: str) -> str:  # noqa: A002
    """An id as one part of a path."""
    from urllib.parse import quote

    return quote(id, safe="")


# An image of 20 GB takes up to 20 minutes to pull (one of the reports in which a pull is timed).
DRIVER = Driver(create, find, status, delete, repeatable=False, ready_s=1800.0)
