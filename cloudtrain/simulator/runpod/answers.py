"""How a fake RunPod answers each call once it has let it in."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.runpod.account import SHELVES, RunpodAccount
from cloudtrain.simulator.runpod.billing import pod_billing
from cloudtrain.simulator.runpod.validation import Problem, data, parse, row

PAGE = 2
TITLES = {400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found"}
TITLES |= {409: "Conflict", 422: "Unprocessable Entity", 429: "Too Many Requests", 503: "Service Unavailable"}
TABLES = {"GpuType": "gpus", "CpuType": "cpus", "DataCenter": "dataCenters"}
Answer = Callable[[RunpodAccount, Request, str], Reply]


def problem(refused: Problem, headers: Mapping[str, str] | None = None) -> Reply:
    """The answer of RFC 9457."""
    document: dict[str, Any] = {"title": TITLES[refused.status], "status": refused.status, "detail": refused.detail}
    if refused.errors:
        document["errors"] = refused.errors
    more = {"Content-Type": "application/problem+json", **(headers or {})}
    return Reply(refused.status, json.dumps(document).encode(), more)


def reply(document: Mapping[str, Any], status: int = 200) -> Reply:
    """An answer with a document."""
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def page(request: Request, name: str, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> Reply:
    """Two rows of (number, document), from the cursor on."""
    after = 0
    if cursor := request.query.get("cursor", [""])[0]:
        try:
            after = int(base64.urlsafe_b64decode(cursor))
        except ValueError:
            raise Problem(400, "the cursor is not one of ours") from None
    rest = [(number, document) for number, document in sorted(rows, key=lambda row: row[0]) if number > after]
    document: dict[str, Any] = {name: [document for _, document in rest[:PAGE]], "pagination": {"hasNextPage": False}}
    if len(rest) > PAGE:
        following = base64.urlsafe_b64encode(str(rest[PAGE - 1][0]).encode()).decode()
        document["pagination"] = {"hasNextPage": True, "nextCursor": following}
    return reply(document)


def plural(one: str) -> str:
    return "Registries" if one == "Registry" else f"{one}s"


def list_pods(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """Without the members of clusters, unless they are asked for."""
    now, members = cloud.clock.now(), request.query.get("includeClusterPods", [""])[0] == "true"
    shown = [pod for pod in cloud.pods.pods.values() if now >= pod.listed_at and (members or not pod.cluster)]
    return page(request, "pods", [(pod.number, pod.document(now)) for pod in shown])


def create_pod(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """201 with a pod that is still to come."""
    pod = cloud.place_pod(parse("createPod", request.body))
    return reply({**pod.document(cloud.clock.now()), "status": "PROVISIONING", "runtime": None}, 201)


def get_pod(cloud: RunpodAccount, request: Request, key: str) -> Reply:
    """One pod, member of a cluster or not."""
    return reply(cloud.pods.get(key).document(cloud.clock.now()))


def delete_pod(cloud: RunpodAccount, request: Request, key: str) -> Reply:
    """It is gone when the answer comes."""
    cloud.pods.terminate(key)
    return Reply(204)


def act(cloud: RunpodAccount, request: Request, key: str) -> Reply:
    """start, stop, restart, terminate."""
    action = parse("podAction", request.body)["action"]
    if action == "terminate":
        return delete_pod(cloud, request, key)
    cloud.pods.act(cloud.pods.get(key), action)
    return get_pod(cloud, request, key)


def terminate_by_graphql(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """The one mutation of the old API that a pod may need to end itself."""
    found = re.search(r'podTerminate\(input: *\{ *podId: *\\"([^"\\]+)\\"', request.body.decode())
    if not found:
        raise Problem(400, "only podTerminate is known here")
    cloud.pods.terminate(found[1])
    return reply({"data": {"podTerminate": None}})


def cluster_document(cloud: RunpodAccount, cluster: Mapping[str, Any]) -> dict[str, Any]:
    """A cluster as the API shows it."""
    pods, counts = cloud.pods.members(cluster["id"]), dict[str, int]()
    for pod in pods:
        status = pod.status(cloud.clock.now())
        counts[status] = counts.get(status, 0) + 1
    shown = {key: value for key, value in cluster.items() if key != "number"}
    return {**shown, "pods": {"total": len(pods), "byStatus": counts}}


def list_clusters(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """All clusters."""
    rows = [(cluster["number"], cluster_document(cloud, cluster)) for cluster in cloud.pods.clusters.values()]
    return page(request, "clusters", rows)


def create_cluster(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """201 with the cluster."""
    body = parse("createCluster", request.body)
    if row("gpus", body["compute"]["gpuTypeId"]) is None:
        raise Problem(400, "unknown GPU type")
    return reply(cluster_document(cloud, cloud.pods.create_cluster(body)), 201)


def get_cluster(cloud: RunpodAccount, request: Request, key: str) -> Reply:
    """One cluster."""
    if key not in cloud.pods.clusters:
        raise Problem(404, "there is no such cluster")
    return reply(cluster_document(cloud, cloud.pods.clusters[key]))


def delete_cluster(cloud: RunpodAccount, request: Request, key: str) -> Reply:
    """With all its pods."""
    cloud.pods.delete_cluster(key)
    return Reply(204)


def shelf(kind: str) -> dict[str, Answer]:
    """The four calls of a plain collection: volumes, templates, registries."""
    name = SHELVES[kind]

    def listed(cloud: RunpodAccount, request: Request, _: str) -> Reply:
        rows = [(item["number"], item["shown"]) for item in cloud.shelves[kind].values()]
        return page(request, name, rows)

    def created(cloud: RunpodAccount, request: Request, _: str) -> Reply:
        body, number = parse(f"create{kind}", request.body), next(cloud.pods.numbers)
        key = f"{kind.lower()[:3]}{number:07d}"
        shown = {**SHELF_DEFAULTS[kind], **body, "id": key}
        shown = {name: value for name, value in shown.items() if name not in ("username", "password")}
        cloud.shelves[kind][key] = {"number": number, "shown": shown}
        if kind == "NetworkVolume":
            catalog = data("catalog")
            price = body["size"] * catalog["volume_usd_per_gb_month"] / catalog["hours_per_month"]
            cloud.ledger.open(key, f"network volume {body['name']}", price)
        return reply(shown, 201)

    def got(cloud: RunpodAccount, request: Request, key: str) -> Reply:
        if key not in cloud.shelves[kind]:
            raise Problem(404, f"there is no such {kind}")
        return reply(cloud.shelves[kind][key]["shown"])

    def deleted(cloud: RunpodAccount, request: Request, key: str) -> Reply:
        if kind == "Registry" and any(pod.body.get("registry") == key for pod in cloud.pods.pods.values()):
            raise Problem(400, "the registry credential is used by a pod")
        if cloud.shelves[kind].pop(key, None) is None:
            raise Problem(404, f"there is no such {kind}")
        cloud.ledger.close(key)
        return Reply(204)

    return {f"list{plural(kind)}": listed, f"create{kind}": created, f"get{kind}": got, f"delete{kind}": deleted}


SHELF_DEFAULTS: dict[str, dict[str, Any]] = {
    "NetworkVolume": {"type": "STANDARD"},
    "Registry": {},
    "Template": {"args": "", "disk": 20, "mounts": {}, "ports": [], "env": {}, "registry": None, "serverless": False}
    | {"public": False, "category": "NVIDIA", "startSsh": True, "startJupyter": True, "allowedCudaVersions": []},
}


def list_ssh_keys(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """None is registered."""
    return reply({"keys": []})


def list_pod_billing(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """What the ledger says; see `billing.pod_billing`."""
    return reply(pod_billing(cloud, request))


def catalog(table: str, one: bool) -> Answer:
    """The list of a table of the catalogue, or one row of it."""

    def answer(cloud: RunpodAccount, request: Request, _: str) -> Reply:
        if one:
            return cloud.catalog.one(table, unquote(request.path.split("/")[4]), request, cloud.stock)
        return cloud.catalog.listed(table, request, cloud.stock)

    return answer


def gpu_types(cloud: RunpodAccount, request: Request, _: str) -> Reply:
    """Prices and stock by the old API, for anybody."""
    return cloud.catalog.graphql(request, cloud.stock)


ANSWERS: dict[str, Answer] = {
    "listPods": list_pods,
    "createPod": create_pod,
    "getPod": get_pod,
    "deletePod": delete_pod,
    "podAction": act,
    "podTerminate": terminate_by_graphql,
    "gpuTypes": gpu_types,
    "listClusters": list_clusters,
    "createCluster": create_cluster,
    "getCluster": get_cluster,
    "deleteCluster": delete_cluster,
    "listSshKeys": list_ssh_keys,
    "listPodBilling": list_pod_billing,
    **{name: answer for kind in SHELVES for name, answer in shelf(kind).items()},
    **{f"list{name}s": catalog(table, one=False) for name, table in TABLES.items()},
    **{f"get{name}": catalog(table, one=True) for name, table in TABLES.items()},
}
