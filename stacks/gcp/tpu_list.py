"""Everything of ours at the Cloud TPU API and in Cloud Tasks, found by label and name without any record.

Lists are asked for zone by zone, because the list over all zones at once is known to be wrong at times, and through
v2alpha1, which also shows what flex-start made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from cloudtrain.errors import NotFound, Permission, ProviderError, Unavailable
from cloudtrain.providers import Finding, OwnedResource

from .._lifecycle.names import A_KEY, EXPIRES, KEY
from . import rest
from .rest import PROJECTS, TASKS, TPU
from .tpu import FLEX, QUEUED, TASK, console_url, task_region
from .tpu_limit import QUEUE_NAME
from .tpu_machine import labels_of, state_of

_NAME = re.compile(rf"ct-({A_KEY})-(\d+)-(.+)")
_FREE = frozenset({"FAILED", "SUSPENDED", "PREEMPTED", "TERMINATED"})
Document = dict[str, Any]
# Queued resources have no permissions of their own: docs.cloud.google.com/iam/docs/roles-permissions/tpu
PERMISSIONS = (
    *(f"tpu.nodes.{verb}" for verb in ("create", "delete", "get", "list")),
    "tpu.locations.list",
    *(f"cloudtasks.tasks.{verb}" for verb in ("create", "delete", "get", "list")),
    *(f"cloudtasks.queues.{verb}" for verb in ("create", "get")),
    "cloudtasks.locations.list",
)


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[OwnedResource]:
    """Machines first, then time limits. `run` is a run's key. Raises provider errors when a place cannot be seen."""
    if not rest.reachable(TPU):
        return
    if places is None:
        project = rest.account()["project"]
        zones = [(project, zone) for zone in _locations(TPU, project)]
        regions = [(project, region) for region in _locations(TASKS, project)]
    else:
        ours = [place for place in places if place.get("tasks")]  # the others are Compute Engine's
        zones = sorted({(place["project"], place["zone"]) for place in ours})
        regions = sorted({(place["project"], place["tasks"]) for place in ours})
    for project, zone in zones:
        yield from (owned for owned in _in_zone(project, zone) if run in (None, owned.run))
    for project, region in regions:
        yield from (owned for owned in _in_region(project, region) if run in (None, owned.run))


def findings() -> Iterator[Finding]:
    """Whether both APIs answer."""
    if not rest.reachable(TPU):
        return
    for what, api in (("Cloud TPU API", TPU), ("Cloud Tasks API", TASKS)):
        try:
            count = sum(len(page.get("locations") or ()) for page in _pages_of_locations(api, rest.project()))
            yield Finding(what, "ok", f"answers for {count} places")
        except ProviderError as error:
            yield Finding(what, "problem", error.message, error.hint)
    yield _permissions()


def _permissions() -> Finding:
    what = "Cloud TPU permissions"
    if not rest.reachable(PROJECTS):
        return Finding(what, "unknown", "unknown in a simulation")
    try:
        path = f"/projects/{rest.project()}:testIamPermissions"
        answer = rest.call(PROJECTS, "POST", path, body={"permissions": list(PERMISSIONS)})
    except ProviderError as error:
        return Finding(what, "unknown", error.message, "enable the Cloud Resource Manager API to have this looked at")
    missing = sorted(set(PERMISSIONS) - set(answer.get("permissions") or ()))
    if missing:
        return Finding(
            what, "problem", f"missing: {', '.join(missing)}", "ask for roles/tpu.admin and roles/cloudtasks.admin"
        )
    return Finding(what, "ok", f"all {len(PERMISSIONS)}")


def _in_zone(project: str, zone: str) -> Iterator[OwnedResource]:
    seen: set[str] = set()
    for document in _all(TPU, f"/projects/{project}/locations/{zone}/queuedResources", "queuedResources"):
        seen.add(_last(document["name"]))
        flex = document.get("provisioningModel") == "FLEX_START"
        if owned := _machine(project, zone, document, FLEX if flex else QUEUED):
            yield owned
    for document in _all(TPU, f"/projects/{project}/locations/{zone}/nodes", "nodes"):
        if _last(document.get("queuedResource", "")) in seen:
            continue  # goes with its queued resource
        if owned := _machine(project, zone, document, QUEUED):
            yield owned


def _machine(project: str, zone: str, document: Document, kind: str) -> OwnedResource | None:
    id, labels = str(document["name"]), labels_of(document)  # noqa: A001  # the seam's word
    base = _inputs(project, zone, task_region(zone), _last(id), labels.get(KEY, ""))
    if base is None:
        return None
    expires = float(labels[EXPIRES]) if labels.get(EXPIRES, "").isdigit() else None
    inputs = {**base, "api": "v2alpha1" if kind == FLEX else "v2", "expires": expires}
    state = state_of(document)
    return OwnedResource(
        run=base["tags"][KEY],
        id=id,
        what=f"{'TPU node' if '/nodes/' in id else 'queued TPU'} {_last(id)} in {zone} ({state})",
        kind=kind,
        inputs=inputs,
        expires=expires,
        bills=state not in _FREE,
        console_url=console_url(inputs, id),
    )


def _in_region(project: str, region: str) -> Iterator[OwnedResource]:
    path = f"/projects/{project}/locations/{region}/queues/{QUEUE_NAME}/tasks"
    try:
        tasks = list(_all(TASKS, path, "tasks"))
    except NotFound:  # no queue
        return
    for task in tasks:
        id = str(task["name"])  # noqa: A001
        target = urlsplit(str(task.get("httpRequest", {}).get("url", ""))).path.split("/")
        zone = target[target.index("locations") + 1] if "locations" in target else ""
        base = _inputs(project, zone, region, _last(id), "")
        if base is None:
            continue
        fires = str(task.get("scheduleTime", ""))
        expires = datetime.fromisoformat(fires.replace("Z", "+00:00")).timestamp() if fires else None
        inputs = {**base, "target": target[-1], "expires": expires}
        what = f"time limit of {target[-1]} at {fires}"
        yield OwnedResource(
            base["tags"][KEY], id, what, TASK, inputs, expires, bills=False, console_url=console_url(inputs, id)
        )


def _inputs(project: str, zone: str, tasks: str, name: str, key: str) -> Document | None:
    """What the drivers need of a thing that was found, or None when it is not ours by label or by name."""
    parts = _NAME.fullmatch(name)
    if not key and not parts:
        return None
    place = {"project": project, "region": zone.rpartition("-")[0], "zone": zone, "tasks": tasks}
    return {
        "place": place,
        "name": name,
        "role": parts[3] if parts else name,
        "attempt": int(parts[2]) if parts else 1,
        "tags": {KEY: key or (parts[1] if parts else "")},
    }


def _locations(api: rest.Api, project: str) -> list[str]:
    """Every place of an API. None when the project has not switched the API on: then nothing is there."""
    try:
        found = [
            place["locationId"] for page in _pages_of_locations(api, project) for place in page.get("locations") or ()
        ]
    except Permission as error:
        if "SERVICE_DISABLED" in error.message or "has not been used" in error.message:
            return []
        raise
    if not found:  # a list of places is never empty
        raise Unavailable(f"{api.url.split('/')[2]} lists no place", "try again")
    return found


def _pages_of_locations(api: rest.Api, project: str) -> Iterator[Document]:
    return rest.pages(api, f"/projects/{project}/locations")


def _all(api: rest.Api, path: str, key: str) -> Iterator[Document]:
    for page in rest.pages(api, path):
        if not isinstance(page.get(key, []), list) or not page.keys() <= {key, "nextPageToken"}:
            raise Unavailable(f"Google answered with something else than {key}", "try again")
        yield from page.get(key, ())


_last: Callable[[str], str] = lambda path: path.rpartition("/")[2]  # noqa: E731
