"""From a request's path to the vendor's name of the call and what it is about."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from cloudtrain.simulator.gcp import quotas
from cloudtrain.simulator.gcp.compute.resources import Target

PREFIX = "/compute/v1/projects/"
_ACCOUNT = re.compile(r"/v1/projects/([^/]+)/serviceAccounts/([^/:]+)(:[A-Za-z]+)?")
_BY_SCOPE = {
    ("zones", "operations"): "zoneOperations",
    ("regions", "operations"): "regionOperations",
    ("global", "operations"): "globalOperations",
    ("aggregated", "operations"): "globalOperations",
    ("regions", "instanceTemplates"): "regionInstanceTemplates",
}
_VERBS = {"GET": ("list", "get"), "POST": ("insert", ""), "DELETE": ("", "delete")}


class Route(NamedTuple):
    """`call` is empty for a path that the API does not have."""

    call: str
    target: Target


NOWHERE = Route("", Target("", "", "", ""))
_PROJECT = re.compile(r"/v1/projects/([^/:]+):(testIamPermissions|getIamPolicy)")


def _of_other_apis(method: str, path: str) -> Route:
    """IAM, the Cloud Resource Manager and Cloud Quotas: accounts, who may do what in the project, how much of it."""
    if (found := _PROJECT.fullmatch(path)) and method == "POST":
        return Route(f"projects.{found[2]}", Target(found[1], "", "", ""))
    if (found := quotas.PATH.fullmatch(path)) and method == "GET":
        return Route("services.quotaInfos", Target(found[1], "", "", ""))
    if found := _ACCOUNT.fullmatch(path):
        verb = {("GET", ""): "get", ("POST", ":testIamPermissions"): "test"}.get((method, found[3] or ""), "")
        return Route(f"serviceAccounts.{verb}", Target(found[1], "", "serviceAccounts", found[2])) if verb else NOWHERE
    return NOWHERE


def route(method: str, path: str) -> Route:
    """`GET /compute/v1/projects/p/zones/z/instances/n` is `instances.get` of that instance."""
    if path.startswith("/v1/"):
        return _of_other_apis(method, path)
    if not path.startswith(PREFIX) or method not in _VERBS:
        return NOWHERE
    project, *parts = [unquote(part) for part in path.removeprefix(PREFIX).split("/")]
    if not parts:
        return Route("projects.get", Target(project, "", "", ""))
    if parts[0] in ("zones", "regions") and len(parts) < 3:
        return Route(f"{parts[0]}.{_VERBS[method][len(parts) - 1]}", Target(project, parts[0], "", "".join(parts[1:])))
    if parts[0] == "aggregated" and len(parts) == 2:
        collection = _BY_SCOPE.get(("aggregated", parts[1]), parts[1])
        return Route(f"{collection}.aggregatedList", Target(project, "aggregated", parts[1], ""))
    if parts[0] == "global":
        parts = ["global", "", *parts[1:]]
    if len(parts) not in (3, 4, 5):
        return NOWHERE
    collection, name, verb = parts[2], "".join(parts[3:4]), "".join(parts[4:])
    verb = verb or _VERBS[method][1 if name else 0]
    scope = "/".join(part for part in parts[:2] if part)
    return Route(
        f"{_BY_SCOPE.get((parts[0], collection), collection)}.{verb}", Target(project, scope, collection, name)
    )
