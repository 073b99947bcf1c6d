"""How the fake Compute Engine answers what depends on nothing that was made: refusals, places, types."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.faults import Fault
from cloudtrain.simulator.gcp import accounts
from cloudtrain.simulator.gcp.compute.documents import Refusal, invalid, not_found
from cloudtrain.simulator.gcp.compute.machines import TPU_TYPES
from cloudtrain.simulator.gcp.compute.resources import ROOT, ZONE_LETTERS, ZONES, Document, Target
from cloudtrain.simulator.gcp.quotas import Quotas
from cloudtrain.simulator.http_server import Reply, Request

PROJECT = "simulation-project"
JSON = {"Content-Type": "application/json; charset=UTF-8"}


def reply(refusal: Refusal) -> Reply:
    """A refusal as HTTP."""
    return Reply(refusal.status, json.dumps(refusal.document()).encode(), JSON)


def public(value: Any) -> Any:
    """Without what only the fake knows."""
    if isinstance(value, Mapping):
        return {key: public(part) for key, part in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [public(part) for part in value]
    return value


def barred(fault: Fault, call: str) -> Refusal:
    """403: the caller may not, or the project has no billing."""
    if fault.kind == "balance":
        return Refusal(403, "billingNotEnabled", f"The billing account for project {PROJECT} is disabled.")
    return Refusal(403, "forbidden", f"Required 'compute.{call}' permission for 'projects/{PROJECT}'")


def account_document(known: accounts.ServiceAccounts, target: Target, request: Request) -> Document:
    """A service account, or what the caller may do with it. Refuses (404) one that is not there."""
    if target.name not in known.existing:
        raise Refusal(404, "notFound", f"Unknown service account {target.name}")
    if request.method == "GET":
        return {"email": target.name, "projectId": target.project}
    wanted = json.loads(request.body).get("permissions") or []
    return {"permissions": wanted} if target.name in known.usable else {}


def quota_document(known: Quotas, request: Request) -> Document:
    """What the Cloud Quotas API says. Refuses (403) who may not ask, and (404) a quota that is not there."""
    if not known.readable:
        raise Refusal(403, "forbidden", "Required 'cloudquotas.quotas.get' permission")
    found = known.document(request.path)
    if found is None:
        raise Refusal(404, "notFound", "Quota not found")
    return found


def check_uuid(token: str) -> None:
    """Refuse (400) a request id that is none."""
    try:
        good = uuid.UUID(token).int != 0
    except ValueError:
        good = False
    if not good:
        raise invalid(f"Invalid value for field 'requestId': '{token}'.")


def place_document(target: Target, gpus: float = 1.0) -> Document:
    """A project, region or zone, with its quotas. Refuses (404) one that is not there."""
    names: Mapping[str, Any] = {"zones": ZONES, "regions": ZONE_LETTERS}.get(target.scope, {})  # type: ignore[assignment]
    quotas = [
        {"metric": "CPUS", "limit": 500.0, "usage": 0.0},
        {"metric": "PREEMPTIBLE_CPUS", "limit": 500.0, "usage": 0.0},
        {"metric": "GPUS_ALL_REGIONS", "limit": gpus, "usage": 0.0},
    ]
    if target.scope and target.name not in names:
        raise not_found(f"{target.scope}/{target.name}")
    return {"name": target.name or target.project, "status": "UP", "quotas": quotas}


def machine_type(target: Target) -> Document:
    """A machine type with accelerators. Refuses (404) one that is not there."""
    if target.name not in TPU_TYPES:
        raise not_found(target.link.removeprefix(ROOT))
    return {"name": target.name, "zone": target.scope.split("/")[1]}


SINGULAR = {"resourcePolicies": "resourcePolicy"}


def kind_of(target: Target, verb: str) -> str:
    """What an answer calls itself: `compute#instance`, `compute#instanceAggregatedList`."""
    collection = target.collection or target.scope.partition("/")[0] or "projects"
    one = SINGULAR.get(collection, collection.removesuffix("s"))
    return f"compute#{one}" + {"get": "", "list": "List", "aggregatedList": "AggregatedList"}[verb]
