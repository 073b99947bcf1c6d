"""The REST doors of the fake: the Cloud TPU API v2alpha1, the delete of v2 that machines send, and Cloud Tasks v2."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cloudtrain.simulator.gcp.tpu.catalog import REGIONS, ZONES, Refusal
from cloudtrain.simulator.gcp.tpu.schema import check, parameters
from cloudtrain.simulator.gcp.tpu.state import TpuState
from cloudtrain.simulator.gcp.tpu.tasks import TaskState
from cloudtrain.simulator.gcp.tpu.validation import check_flex
from cloudtrain.simulator.http_server import Reply, Request

Document = dict[str, Any]
TPU_API, TPU_V2, TASKS_API = "tpu.v2alpha1", "tpu.v2", "cloudtasks.v2"
_PLACE = r"(projects/[^/]+/locations/[^/]+)"
_HTTP: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


class Route(NamedTuple):
    """An address: the call's name, the API, where its method is described, and the schema of its body."""

    call: str
    http: str
    pattern: re.Pattern[str]
    api: str
    resource: tuple[str, ...]
    method: str
    schema: str = ""


def _route(call: str, http: str, pattern: str, schema: str = "") -> Route:
    parents = {"locations": (), "tasks": ("queues", "tasks")}
    *_, noun, method = call.split(".")
    tasks = noun in ("queues", "tasks") or call.startswith("tasks.")
    api = TPU_API if pattern.startswith("/v2alpha1") else TASKS_API if tasks else TPU_V2
    resource = ("projects", "locations", *parents.get(noun, (noun,)))
    return Route(call, http, re.compile(pattern), api, resource, method, schema)


ROUTES = (
    _route("tpu.locations.list", "GET", r"/v2alpha1/(projects/[^/]+)/locations"),
    _route("queuedResources.create", "POST", rf"/v2alpha1/{_PLACE}/queuedResources", "QueuedResource"),
    _route("queuedResources.list", "GET", rf"/v2alpha1/{_PLACE}/queuedResources"),
    _route("queuedResources.get", "GET", rf"/v2alpha1/({_PLACE}/queuedResources/[^/]+)"),
    _route("queuedResources.delete", "DELETE", rf"/v2alpha1/({_PLACE}/queuedResources/[^/]+)"),
    _route("queuedResources.delete", "DELETE", rf"/v2/({_PLACE}/queuedResources/[^/]+)"),
    _route("nodes.list", "GET", rf"/v2alpha1/{_PLACE}/nodes"),
    _route("nodes.get", "GET", rf"/v2alpha1/({_PLACE}/nodes/[^/]+)"),
    _route("nodes.delete", "DELETE", rf"/v2alpha1/({_PLACE}/nodes/[^/]+)"),
    _route("tasks.locations.list", "GET", r"/v2/(projects/[^/]+)/locations"),
    _route("queues.create", "POST", rf"/v2/{_PLACE}/queues", "Queue"),
    _route("queues.get", "GET", rf"/v2/({_PLACE}/queues/[^/]+)"),
    _route("tasks.create", "POST", rf"/v2/({_PLACE}/queues/[^/]+)/tasks", "CreateTaskRequest"),
    _route("tasks.list", "GET", rf"/v2/({_PLACE}/queues/[^/]+)/tasks"),
    _route("tasks.get", "GET", rf"/v2/({_PLACE}/queues/[^/]+/tasks/[^/]+)"),
    _route("tasks.delete", "DELETE", rf"/v2/({_PLACE}/queues/[^/]+/tasks/[^/]+)"),
)


def route_of(request: Request) -> tuple[Route, str] | None:
    """The route of a request and the resource's name in its address, or None."""
    for route in ROUTES:
        if request.method == route.http and (matched := route.pattern.fullmatch(request.path)):
            return route, matched[1]
    return None


class Rest(NamedTuple):
    """Both services behind the doors."""

    tpu: TpuState
    tasks: TaskState
    check_token: Callable[[str, str], None] = lambda token, call: None  # whether it does for a call; raises Refusal

    def answer(self, request: Request) -> Reply:
        """The reply, as Google writes it."""
        try:
            return Reply(200, json.dumps(self._perform(request)).encode(), {"Content-Type": "application/json"})
        except Refusal as refused:
            return error_reply(refused)

    def _perform(self, request: Request) -> Document:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or not token.startswith("PLANTED-SECRET"):
            # Any planted one: beside the fake Compute Engine both are found through one variable.
            raise Refusal("UNAUTHENTICATED", "Request had invalid authentication credentials.")
        found = route_of(request)
        if found is None:
            raise Refusal("NOT_FOUND", f"There is no {request.method} {request.path}.")
        route, name = found
        self.check_token(token, route.call)
        for unknown in set(request.query) - parameters(route.api, route.resource, route.method):
            raise Refusal("INVALID_ARGUMENT", f"Invalid query parameter '{unknown}'.")
        body = _body(request, route)
        query = {key: values[0] for key, values in request.query.items()}
        if route.api != TASKS_API:
            return self._tpu(route.call, name, query, body)
        return self._tasks(route.call, name, query, body)

    def _tpu(self, call: str, name: str, query: Mapping[str, str], body: Document) -> Document:
        state, token = self.tpu, query.get("pageToken", "")
        noun = call.split(".", maxsplit=1)[0]
        records = state.nodes if noun == "nodes" else state.queued
        if call == "tpu.locations.list":
            return _locations(name, state.project, ZONES)
        if call == "queuedResources.create":
            check_flex(body, state.clock.now())
            identifier, request_id = query.get("queuedResourceId", ""), query.get("requestId", "")
            return state.create_queued(call, name, identifier, body, request_id)
        if call.endswith(".list"):
            found, following = state.page(records.values(), name, token)
            return {noun: found, **({"nextPageToken": following} if following else {})}
        if call.endswith(".get"):
            return state.show(state.find(records, name))
        if noun == "nodes":
            return state.delete_node(call, name)
        return state.delete_queued(call, name, query.get("force") == "true")

    def _tasks(self, call: str, name: str, query: Mapping[str, str], body: Document) -> Document:
        if call == "tasks.locations.list":
            return _locations(name, self.tasks.project, REGIONS)
        if call == "queues.create":
            return self.tasks.create_queue(call, name, body)
        if call == "queues.get":
            return self.tasks.queue(name)
        if call == "tasks.create":
            return self.tasks.create_task(call, name, body)
        if call == "tasks.list":
            found, following = self.tasks.page(name, query.get("pageToken", ""))
            return {"tasks": found, **({"nextPageToken": following} if following else {})}
        return self.tasks.task(name) if call == "tasks.get" else self.tasks.delete_task(call, name)


def error_reply(refused: Refusal) -> Reply:
    """Google's error document."""
    status = _HTTP[refused.code]
    error = {"code": status, "message": refused.message, "status": refused.code}
    return Reply(status, json.dumps({"error": error}).encode(), {"Content-Type": "application/json"})


def _body(request: Request, route: Route) -> Document:
    if not route.schema:
        if request.body:
            raise Refusal("INVALID_ARGUMENT", "Request body is not allowed here.")
        return {}
    try:
        body: Document = json.loads(request.body or b"{}")
    except ValueError:
        raise Refusal("INVALID_ARGUMENT", "Invalid JSON payload received.") from None
    check(route.api, route.schema, body)
    return body


def _locations(project: str, known: str, names: Any) -> Document:
    if project != f"projects/{known}":
        raise Refusal("PERMISSION_DENIED", f"Permission denied on {project}.")
    return {"locations": [{"name": f"{project}/locations/{name}", "locationId": name} for name in names]}
