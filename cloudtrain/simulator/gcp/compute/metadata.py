"""The metadata server of the fake Compute Engine: what an instance may read about itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cloudtrain.simulator.gcp.accounts import DEFAULT, barred
from cloudtrain.simulator.gcp.compute.documents import Refusal
from cloudtrain.simulator.gcp.compute.resources import ROOT, Document
from cloudtrain.simulator.http_server import Reply, Request

PREFIX = "/computeMetadata/v1/"
PROJECT_NUMBER = "123456789012"
LONGEST_WAIT_S = 60.0
LOOK_S = 0.05


def startup_script(machine: Document) -> bytes:
    """The script that the guest environment runs at every boot; empty without one."""
    return _attributes(machine).get("startup-script", "").encode()


def answer(machine: Document, path: str, request: Request) -> Reply:
    """What the metadata server answers the guest: 403 without the header, 404 for the absent. May wait for a change."""
    if request.headers.get("metadata-flavor") != "Google" or "x-forwarded-for" in request.headers:
        return Reply(403, b"Missing Metadata-Flavor:Google header.", {"Content-Type": "text/plain"})
    if request.method != "GET" or not path.startswith(PREFIX):
        return Reply(405 if request.method != "GET" else 404)
    key = path.removeprefix(PREFIX)
    value = _value(machine, key)
    if request.query.get("wait_for_change") == ["true"]:
        value = _changed(machine, key, request)
    if value is None:
        return Reply(404)
    kind = "application/json" if value.startswith("{") else "application/text"
    tag = format(abs(hash(value)), "x")
    return Reply(200, value.encode(), {"Content-Type": kind, "Metadata-Flavor": "Google", "ETag": tag})


def _changed(machine: Document, key: str, request: Request) -> str | None:
    """The value once it is another one, or after the request's `timeout_sec`."""
    before = _value(machine, key)
    tag = request.query.get("last_etag", [""])[0]
    if tag and tag != format(abs(hash(before)), "x"):
        return before
    seconds = float(request.query.get("timeout_sec", ["60"])[0])
    until, never = time.monotonic() + min(seconds, LONGEST_WAIT_S), threading.Event()
    while _value(machine, key) == before and time.monotonic() < until:
        never.wait(LOOK_S)
    return _value(machine, key)


def _value(machine: Document, key: str) -> str | None:
    where = str(machine["selfLink"]).removeprefix(f"{ROOT}/projects/").split("/")
    project, zone = where[0], where[2]
    scheduling = machine.get("scheduling") or {}
    values: dict[str, str] = {
        "project/project-id": project,
        "project/numeric-project-id": PROJECT_NUMBER,
        "instance/id": str(machine["id"]),
        "instance/name": str(machine["name"]),
        "instance/hostname": f"{machine['name']}.{zone}.c.{project}.internal",
        "instance/zone": f"projects/{PROJECT_NUMBER}/zones/{zone}",
        "instance/machine-type": f"projects/{PROJECT_NUMBER}/machineTypes/{str(machine['machineType']).split('/')[-1]}",
        "instance/preempted": "TRUE" if machine.get("_preempted") else "FALSE",
        "instance/maintenance-event": "NONE",
        "instance/scheduling/preemptible": str(scheduling.get("provisioningModel") == "SPOT").upper(),
        **{f"instance/attributes/{name}": value for name, value in _attributes(machine).items()},
    }
    for account in (machine.get("serviceAccounts") or [])[:1]:
        start = "instance/service-accounts/default/"
        token = {"access_token": token_of(machine), "expires_in": 3599, "token_type": "Bearer"}
        values |= {f"{start}token": json.dumps(token), f"{start}scopes": "\n".join(account.get("scopes", []))}
        values[f"{start}email"] = DEFAULT if account.get("email") == "default" else str(account.get("email"))
    return values.get(key)


def token_of(machine: Mapping[str, Any]) -> str:
    """The access token of the machine's service account."""
    return f"PLANTED-SECRET-GCE-MACHINE-{machine['id']}"


def _attributes(machine: Document) -> dict[str, str]:
    items = (machine.get("metadata") or {}).get("items") or []
    return {str(each["key"]): str(each.get("value", "")) for each in items}


def check_token(request: Request, machines: Iterable[Document], call: str, name: str) -> None:
    """A token of a machine does what its scopes and its account allow. Raises Refusal."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    for machine in machines:
        if token == token_of(machine) and (why := barred(machine, call, name)):
            raise Refusal(403, "insufficientPermissions" if "scopes" in why else "forbidden", why)
