"""Everything of ours in Compute Engine, by label or name, in every region and zone and on every page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudtrain.errors import Unavailable
from cloudtrain.providers import OwnedResource

from .._lifecycle import names
from .compute import console_url
from .kinds import NOUNS, tags_of
from .rest import COMPUTE, pages, project

OURS = re.compile(rf"ct-({names.A_KEY})-\d+-[a-z0-9-]+")
UNLABELLED = ("instance_group", "instance_template", "workload_policy")
_BY_COLLECTION = {noun.collection: kind for kind, noun in NOUNS.items()}


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterator[OwnedResource]:
    """What is there: of one run's key, or of all; in the projects of the places, or in ours.

    Always every region and zone: an aggregated list costs no more than a place's. Raises provider errors when Google
    could not list a place.
    """
    projects = {str(place["project"]) for place in places or () if place.get("project")} or {project()}
    for each in sorted(projects):
        yield from _of_project(each, run)


def _of_project(project_id: str, run: str | None) -> Iterator[OwnedResource]:
    # Running inserts first, then what they make: the other way round, one that ends between both lists is in neither.
    # Groups before machines for the same reason.
    inserts = list(_running_inserts(project_id, run))
    groups = list(_unlabelled(project_id, "instance_group", run))
    reported = {(owned.kind, owned.id) for owned in groups}
    yield from groups
    group_names = {owned.id for owned in groups}
    for document in _labelled(project_id, "instance", run):
        if _group_of(document) not in group_names:  # a group makes a deleted machine again: it goes with its group
            reported.add(("instance", str(document["name"])))
            yield _owned("instance", project_id, document)
    for document in _labelled(project_id, "disk", run):
        if not document.get("users"):  # else it goes with its machine, and could not be deleted before
            yield _owned("disk", project_id, document)
    for kind in UNLABELLED[1:]:
        for owned in _unlabelled(project_id, kind, run):
            reported.add((kind, owned.id))
            yield owned
    yield from (owned for owned in inserts if (owned.kind, owned.id) not in reported)


def aggregated(project_id: str, collection: str, query: str) -> Iterator[dict[str, Any]]:
    """Every item of all places. Raises Unavailable when a place did not answer."""
    for page in pages(COMPUTE, f"/projects/{project_id}/aggregated/{collection}", {"filter": query} if query else {}):
        if not str(page["kind"]).endswith("AggregatedList") or not isinstance(page.get("items", {}), dict):
            raise Unavailable(f"Google answered with something else than {collection}", "try again")
        for scope, part in page.get("items", {}).items():
            code = (part.get("warning") or {}).get("code", "NO_RESULTS_ON_PAGE")
            if code != "NO_RESULTS_ON_PAGE":
                raise Unavailable(f"Google could not list {collection} in {scope} ({code})", "try again")
            yield from part.get(collection) or []


def _labelled(project_id: str, kind: str, run: str | None) -> Iterator[dict[str, Any]]:
    query = f"labels.{names.KEY}={run}" if run else f"labels.{names.KEY}:*"
    yield from aggregated(project_id, NOUNS[kind].collection, query)


def _unlabelled(project_id: str, kind: str, run: str | None) -> Iterator[OwnedResource]:
    query = f'name eq "ct-{run or "[0-9a-f]+"}-.*"'
    for document in aggregated(project_id, NOUNS[kind].collection, query):
        if OURS.fullmatch(str(document.get("name"))) and tags_of(document).get(names.KEY):
            yield _owned(kind, project_id, document)


def _running_inserts(project_id: str, run: str | None) -> Iterator[OwnedResource]:
    for operation in aggregated(project_id, "operations", "status != DONE"):
        link = str(operation.get("targetLink"))
        collection, name = (["", "", *link.split("/")])[-2:]
        found, kind = OURS.fullmatch(name), _BY_COLLECTION.get(collection)
        if operation.get("operationType") != "insert" or not found or kind is None or run not in (None, found[1]):
            continue
        if kind == "instance" and re.fullmatch(r"machine-.+", name.split("-", 3)[3]):
            continue  # a member, which its group makes
        yield _owned(kind, project_id, {"name": name, "selfLink": link}, found[1])


def _group_of(document: Mapping[str, Any]) -> str:
    for item in (document.get("metadata") or {}).get("items") or []:
        if item.get("key") == "created-by" and "/instanceGroupManagers/" in str(item.get("value")):
            return str(item["value"]).rpartition("/")[2]
    return ""


def _owned(kind: str, project_id: str, document: Mapping[str, Any], key: str = "") -> OwnedResource:
    tags, name = tags_of(document), str(document["name"])
    link = str(document.get("selfLink"))
    expires = tags.get(names.EXPIRES, "")
    place = {"project": project_id, **_place(link)}
    inputs = {
        "name": name,
        "role": kind,
        "kind": kind,
        "place": place,
        "tags": {names.KEY: tags.get(names.KEY, key), **tags},
    }
    where = place.get("zone") or place.get("region") or "global"
    message = document["status"] if isinstance(document.get("status"), str) else "there"
    return OwnedResource(
        tags.get(names.KEY, key),
        name,
        f"{kind.replace('_', ' ')} {name}, {where}, {message}",
        kind,
        inputs,
        float(expires) if expires.isdigit() else None,
        kind in ("instance", "instance_group", "disk"),
        None,
        console_url(inputs, name),
    )


def _place(link: str) -> dict[str, str]:
    found = re.search(r"/(zones|regions)/([^/]+)/", link)
    if found is None:
        return {}
    if found[1] == "regions":
        return {"region": found[2], "zone": ""}
    return {"region": found[2].rpartition("-")[0], "zone": found[2]}
