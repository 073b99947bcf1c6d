"""The pods and clusters of a fake RunPod: how they begin, fail, restart, cost, and end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.ledger import Ledger
from cloudtrain.simulator.runpod.catalog import Catalog
from cloudtrain.simulator.runpod.validation import Problem, data, row

ACTIONS = {
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["start", "terminate"],
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
}


def instant(seconds: float) -> str:
    """An instant as RunPod writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Pod:
    """One pod. `stopped` is EXITED or ERROR once it is; `ready_at` is when its container runs; `key` is its own."""

    id: str
    number: int
    body: Mapping[str, Any]
    created: float
    ready_at: float
    key: str
    listed_at: float
    usd_each: float  # for one GPU or vCPU, as it was when the pod was made
    cluster: str = ""
    rank: int = 0
    stopped: str = ""
    restarts: int = 0
    runs: bool = False  # its container is real processes

    def status(self, now: float) -> str:
        """The word of the API."""
        if self.stopped or now >= self.ready_at:
            return self.stopped or "RUNNING"
        return "PROVISIONING" if now < (self.created + self.ready_at) / 2 else "STARTING"

    def compute_usd_per_hour(self) -> float:
        """What the API calls `cost`, while it is not stopped."""
        if "gpu" in self.body:
            gpu = self.body["gpu"]
            return self.usd_each * int(gpu.get("count", 1))
        return self.usd_each * int(self.body["cpu"]["vcpuCount"])

    def disk_usd_per_hour(self) -> float:
        """The container disk; a stopped pod costs that and more, so the fake never lets it be free."""
        catalog = data("catalog")
        return float(self.body.get("disk", 20) * catalog["disk_usd_per_gb_month"] / catalog["hours_per_month"])

    def document(self, now: float) -> dict[str, Any]:
        """The pod as the API shows it."""
        status = self.status(now)
        hardware: dict[str, Any] = {}
        if "gpu" in self.body:
            hardware["gpu"] = {"id": self.body["gpu"]["id"], "count": self.body["gpu"].get("count", 1)}
        else:
            cpu = self.body["cpu"]
            memory = int((row("cpus", cpu["id"]) or {})["ramGbPerVcpu"] * cpu["vcpuCount"])
            hardware["cpu"] = {**cpu, "memory": memory}
        if self.cluster:
            hardware["cluster"] = {"id": self.cluster, "rank": self.rank}
        centers = self.body.get("dataCenterIds") or [data("catalog")["dataCenters"][0]["id"]]
        return {
            "id": self.id,
            "name": self.body["name"],
            "status": status,
            "actions": ACTIONS[status],
            "image": self.body.get("image", ""),
            "args": self.body.get("args", ""),
            "disk": self.body.get("disk", 20),
            "mounts": self.body.get("mounts", {}),
            "ports": self.body.get("ports", []),
            "env": dict(self.body.get("env", {})),
            "registry": self.body.get("registry"),
            "cloud": self.body.get("cloud", "SECURE"),
            "dataCenterId": centers[0],
            "cudaVersion": None,
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if status == "EXITED" else self.compute_usd_per_hour(),
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": {"uptime": int(now - self.ready_at), "ports": []} if status == "RUNNING" else None,
            "createdAt": instant(self.created),
            "startedAt": instant(self.ready_at) if now >= self.ready_at else None,
            **hardware,
        }


@dataclass
class Pods:
    """All pods and clusters of the account, and what they cost.

    `ready_s` is how long a container takes to run. `guests`: a running pod whose environment has CLOUDTRAIN_DEADLINE
    ends itself then, as our timer in it does; `self_delete` is the right of a pod's own key, which nobody has proven.
    """

    clock: Clock
    ledger: Ledger
    catalog: Catalog
    ready_s: float = 0.0
    guests: bool = True
    self_delete: bool = True
    pods: dict[str, Pod] = field(default_factory=dict)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    powered_on: Callable[[Pod], bool] = lambda pod: False  # start its container; whether it really runs
    powered_off: Callable[[Pod], None] = lambda pod: None  # nothing runs in it any more
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, body: Mapping[str, Any], slow_s: float = 0.0, stale_s: float = 0.0) -> Pod:
        """A new pod, whatever others are called. It needs `slow_s` longer, and is missing in lists for `stale_s`."""
        number, now = next(self.numbers), self.clock.now()
        pod = Pod(
            id=f"pod{number:07d}",
            number=number,
            body=body,
            created=now,
            ready_at=now + self.ready_s + slow_s,
            key=f"rpa_PLANTED-SECRET-RUNPOD-POD-{number}",
            listed_at=now + stale_s,
            usd_each=self.catalog.usd_each(body),
        )
        self.pods[pod.id] = pod
        self._bill(pod)
        self._arm(pod)
        return pod

    def create_cluster(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A cluster with its member pods, which the list of pods hides."""
        compute, number = body["compute"], next(self.numbers)
        cluster = {
            "id": f"cluster{number:04d}",
            "name": body["name"],
            "type": body["type"],
            "compute": compute,
            "number": number,
            "createdAt": instant(self.clock.now()),
        }
        container = {k: body[k] for k in ("image", "args", "disk", "env", "ports", "dataCenterIds") if k in body}
        gpu = {"id": compute["gpuTypeId"], "count": compute["gpuCountPerPod"]}
        for rank in range(compute["podCount"]):
            pod = self.create({**container, "name": f"{body['name']}-{rank}", "gpu": gpu})
            pod.cluster, pod.rank = cluster["id"], rank
        self.clusters[cluster["id"]] = cluster
        return cluster

    def members(self, cluster: str) -> list[Pod]:
        """The pods of a cluster."""
        return [pod for pod in self.pods.values() if pod.cluster == cluster]

    def get(self, id: str) -> Pod:  # noqa: A002
        """Raises Problem 404."""
        if id not in self.pods:
            raise Problem(404, "there is no such pod")
        return self.pods[id]

    def terminate(self, id: str, by_cluster: bool = False) -> None:  # noqa: A002
        """It is gone for good and costs nothing. Raises Problem 404, and 409 for the member of a cluster."""
        pod = self.get(id)
        if pod.cluster and not by_cluster:
            raise Problem(409, "the pod belongs to a cluster")
        self.powered_off(pod)
        del self.pods[id]
        self.ledger.close(id)

    def delete_cluster(self, id: str) -> None:  # noqa: A002
        """The cluster and its pods are gone. Raises Problem 404."""
        if self.clusters.pop(id, None) is None:
            raise Problem(404, "there is no such cluster")
        for pod in self.members(id):
            self.terminate(pod.id, by_cluster=True)

    def act(self, pod: Pod, action: str) -> None:
        """start, stop or restart. Raises Problem 409 when the pod's state does not allow it."""
        if action not in ACTIONS[pod.status(self.clock.now())]:
            raise Problem(409, f"{action} is not valid for the pod's status")
        if action == "stop":
            self.end_container(pod.id, "EXITED")
            return
        self.powered_off(pod)
        pod.stopped, pod.ready_at = "", self.clock.now() + self.ready_s
        self.ledger.close(pod.id)
        self._bill(pod)
        self._arm(pod)

    def end_container(self, id: str, status: str) -> None:  # noqa: A002
        """The pod stays EXITED (its disk keeps costing) or ERROR (everything does)."""
        pod = self.pods.get(id)
        if pod is None:
            return
        self.powered_off(pod)
        pod.stopped = status
        if status == "EXITED":
            self.ledger.close(id)
            disk = pod.disk_usd_per_hour()
            self.ledger.open(id, f"stopped pod {pod.body['name']}", disk, disk=disk)

    def exit_process(self, id: str) -> None:  # noqa: A002
        """The container's process ends: RunPod restarts it, for ever, and keeps billing."""
        pod = self.get(id)
        pod.restarts += 1
        pod.ready_at = self.clock.now() + self.ready_s

    def _bill(self, pod: Pod) -> None:
        compute, disk = pod.compute_usd_per_hour(), pod.disk_usd_per_hour()
        kind = {"kind": "gpu" if "gpu" in pod.body else "cpu"}
        self.ledger.open(pod.id, f"pod {pod.body['name']}", compute + disk, kind, disk)

    def _arm(self, pod: Pod) -> None:
        """Let the container start when it is ready, and the timer in it do at its deadline what a real one does."""
        self.clock.at(pod.ready_at, lambda: self._start(pod))
        deadline = pod.body.get("env", {}).get("CLOUDTRAIN_DEADLINE")
        if deadline is not None and self.guests:
            self.clock.at(max(float(deadline), pod.ready_at), lambda: self._guest(pod))

    def _start(self, pod: Pod) -> None:
        if self.pods.get(pod.id) is pod and not pod.stopped and self.clock.now() >= pod.ready_at:
            pod.runs = self.powered_on(pod)

    def _guest(self, pod: Pod) -> None:
        if pod.runs and not self.clock.moved:
            return  # the timer in it is there, and has the same time
        if self.pods.get(pod.id) is pod and not pod.stopped and self.self_delete and not pod.cluster:
            self.terminate(pod.id)
