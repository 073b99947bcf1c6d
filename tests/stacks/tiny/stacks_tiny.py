"""A tiny fourth cloud: one kind of machine behind a REST API of four calls. A test drops this in as `stacks/tiny.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cloudtrain.endpoints import override
from cloudtrain.errors import MissingCredentials, NotFound
from cloudtrain.plan import Plan
from cloudtrain.providers import (
    Cloud,
    Driver,
    Finding,
    Guard,
    OwnedResource,
    Resource,
    ResourceState,
    Timing,
    effective_timing,
)

from ._lifecycle.names import KEY, base_inputs
from ._pulumi.provisioned import provisioned


def call(method: str, path: str, body: Any = None) -> Any:
    import requests

    from ._lifecycle.http import send

    base = override("CLOUDTRAIN_TINY_URL")
    if base is None:
        raise MissingCredentials("the tiny cloud has no address", "set CLOUDTRAIN_TINY_URL")
    seconds = times().request_s
    reply = send(requests.Session(), method, f"{base}{path}", timeout_s=seconds, mutating=method != "GET", json=body)
    if reply.status_code == 404:
        raise NotFound(f"{path} is not there")
    return reply.json()


def times() -> Timing:
    return effective_timing(Timing(), override("CLOUDTRAIN_TINY_URL") is not None)


def seen(document: Any) -> ResourceState:
    return ResourceState(document["id"], "ready", document["name"], {"address": "10.0.0.1"})


def create(inputs: Mapping[str, Any]) -> ResourceState:
    body = {"name": inputs["name"], "tags": inputs["tags"], "expires": inputs["expires"]}
    return seen(call("POST", "/machines", body))


def find(inputs: Mapping[str, Any]) -> list[ResourceState]:
    return [seen(m) for m in call("GET", "/machines") if m["name"] == inputs["name"]]


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterable[OwnedResource]:
    for m in call("GET", "/machines"):
        if run in (None, m["tags"][KEY]):
            yield OwnedResource(m["tags"][KEY], m["id"], f"machine {m['name']}", "machine", {"place": {}}, m["expires"])


def resources(plan: Plan, account: Mapping[str, str]) -> list[Resource]:
    inputs = base_inputs(plan, "machine", {}, "somebody")
    return [Resource("machine", "machine", inputs, summary="one tiny machine")]


provider = provisioned(
    "tiny",
    guards=lambda offer, market: (Guard("the tiny cloud's own limit", True), Guard("another", True)),
    backends=frozenset(),
    cloud=Cloud(
        account=lambda: {},
        resources=resources,
        drivers={
            "machine": Driver(
                create,
                find,
                status=lambda inputs, id: seen(call("GET", f"/machines/{id}")),
                delete=lambda inputs, id: call("DELETE", f"/machines/{id}"),
            )
        },
        list_owned=list_owned,
        timing=times,
        console_url=lambda inputs, id: f"https://tiny.example/{id}",
        findings=lambda: [Finding("address", "ok", "set")],
        serves=lambda line: True,
    ),
)
