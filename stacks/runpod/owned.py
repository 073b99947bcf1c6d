"""Everything of ours at RunPod, found by name without any record, and how the sweep removes what `up` never makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from cloudtrain.errors import Rejected
from cloudtrain.providers import Driver, OwnedResource, ResourceState

from . import api, names, pods

CONSOLE = "https://console.runpod.io"


class Kind(NamedTuple):
    """A kind of thing that is only ever found and removed."""

    path: str
    list_name: str
    message: str
    bills: bool
    console: str


# In the order of making: a pod may use all of the others, so it is removed first.
KINDS: dict[str, Kind] = {
    "registry": Kind("/v2/registries", "registries", "registry credential", False, "user/settings"),
    "template": Kind("/v2/templates", "templates", "template", False, "user/templates"),
    "network_volume": Kind("/v2/network-volumes", "networkVolumes", "network volume", True, "user/storage"),
    "cluster": Kind("/v2/clusters", "clusters", "cluster", True, "cluster"),
}


def drivers() -> dict[str, Driver]:
    """All kinds, the pod last."""
    return {**{kind: _driver(kind) for kind in KINDS}, "pod": pods.DRIVER}


def console_url(kind: str) -> str:
    """Where a person looks at such things."""
    return f"{CONSOLE}/{KINDS[kind].console}" if kind in KINDS else f"{CONSOLE}/pods"


def rows(kind: str) -> Iterator[dict[str, Any]]:
    """All objects of a kind."""
    return api.pages(KINDS[kind].path, KINDS[kind].list_name)


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> list[OwnedResource]:
    """Everything whose name is one of ours, of the run with that key or of all; one account is one place.

    All of it is read before anything is given, so that deleting what was found cannot move the pages to come. Raises
    MissingCredentials for a place that belongs to another API key.
    """
    for place in places or ():
        api.check_place(place)
    return list(_everything(run))


def _everything(run: str | None) -> Iterator[OwnedResource]:
    clusters = dict[str, str]()
    for pod in pods.listed({"includeClusterPods": "true"}):
        member = pod.get("cluster")
        if isinstance(member, dict) and member.get("id"):
            clusters.setdefault(str(member["id"]), str(pod.get("name", "")))  # goes with its cluster, never alone
        else:
            yield from _owned("pod", str(pod["id"]), pod.get("name"), run, pod)
    for kind in reversed(KINDS):
        for row in rows(kind):
            clusters.pop(str(row["id"]), None)
            yield from _owned(kind, str(row["id"]), row.get("name"), run, row)
    for cluster, name in clusters.items():  # its pods are there, and no list of clusters had it
        yield from _owned("cluster", cluster, name, run, {})


def _owned(kind: str, id: str, name: object, run: str | None, row: Mapping[str, Any]) -> Iterator[OwnedResource]:  # noqa: A002
    ours = names.parse(name)
    if ours is None or run not in (None, ours.key):
        return
    message = KINDS[kind].message if kind in KINDS else "pod"
    cost = row.get("cost")
    yield OwnedResource(
        run=ours.key,
        id=id,
        what=" ".join(part for part in (message, str(name), str(row.get("status", ""))) if part),
        kind=kind,
        inputs={"place": place_of(row), "name": str(name)},
        expires=ours.expires,
        bills=KINDS[kind].bills if kind in KINDS else True,
        usd_per_hour=Decimal(str(cost)) if isinstance(cost, Decimal | int) else None,
        console_url=console_url(kind),
    )


def place_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Whose it is and where it lies."""
    return {"key": api.key_mark(), "region": str(row.get("dataCenterId") or row.get("dataCenter") or "")}


def _driver(kind: str) -> Driver:
    known = KINDS[kind]

    def create(inputs: Mapping[str, Any]) -> NoReturn:
        raise Rejected(f"cloudtrain makes no {known.message} at RunPod")

    def find(inputs: Mapping[str, Any]) -> list[ResourceState]:
        return [ResourceState(str(row["id"]), "ready") for row in rows(kind) if row.get("name") == inputs["name"]]

    def status(inputs: Mapping[str, Any], id: str) -> ResourceState:  # noqa: A002
        api.read(f"{known.path}/{pods.quoted(id)}")
        return ResourceState(id, "ready")

    def delete(inputs: Mapping[str, Any], id: str) -> None:  # noqa: A002
        api.delete(f"{known.path}/{pods.quoted(id)}")

    return Driver(create, find, status, delete, repeatable=False, bills=known.bills)
