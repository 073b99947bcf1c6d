"""A fake RunPod: REST API v2 on loopback, as strict as the real one, with its habits that cost money.

Names are not unique, lists come two at a time, members of a cluster are hidden, a container that exits is started
again for ever, stopped and broken pods go on costing, and no capacity looks like a broken rule.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults, Kind, Menu
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.ledger import Ledger
from cloudtrain.simulator.runpod.answers import ANSWERS, SHELVES, plural, problem
from cloudtrain.simulator.runpod.pods import Pod, Pods
from cloudtrain.simulator.runpod.validation import Problem, check_pod

KEY = "rpa_PLANTED-SECRET-RUNPOD"
COLLECTIONS = {"pods": "Pod", "clusters": "Cluster", "network-volumes": "NetworkVolume", "templates": "Template"}
COLLECTIONS |= {"registries": "Registry"}
READS: Menu = [
    (call, ("dropped", "throttled", "unavailable"))
    for call in ("listPods", "getPod", "listClusters", "listNetworkVolumes", "listTemplates", "listRegistries")
]
SENT: tuple[Kind, ...] = ("lost_reply", "dropped", "late", "throttled", "unavailable")
PLACED: tuple[Kind, ...] = ("no_capacity", "no_capacity_later", "permission", "balance", "stale", "slow")
MENU: Menu = [("createPod", (*SENT, *PLACED)), ("deletePod", (*SENT, "refused")), *READS]


REFUSALS = {
    "no_capacity": (400, "there are no instances currently available"),
    "permission": (403, "access denied"),
    "balance": (402, "the balance is insufficient"),
    "refused": (409, "the pod is locked"),
}


class RunpodCloud(Front):
    """The account. `pods` holds pods and clusters; `balance` is the prepaid credit in dollars, or None: no end."""

    def __init__(self, clock: Clock | None = None, balance: float | None = None) -> None:
        super().__init__(clock)
        self.menu = MENU
        self.balance = balance
        self.reset(self.clock)

    def reset(self, clock: Clock | None = None) -> None:
        """A new account at the same address, with a clock and a ledger of its own: nothing of the old one can happen.

        `stock`: whether there is anything to be had.
        """
        self.room.close()
        self.clock = clock or Clock(self.clock.now() if self.clock.virtual else None)
        self.ledger = Ledger(self.clock)
        self.faults = Faults()
        self.calls.clear()
        self.stock = True
        self.pods = Pods(self.clock, self.ledger)
        self.pods.powered_on, self.pods.powered_off = self._power_on, lambda pod: self.room.cut(pod.id)
        self.shelves: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in SHELVES}
        self._exhaustion = 0

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_RUNPOD_URL": self.url, "RUNPOD_API_KEY": KEY}

    def pod_environment(self, id: str) -> dict[str, str]:  # noqa: A002
        """What a process in the pod sees: what the create call said, and what RunPod adds itself."""
        pod = self.pods.get(id)
        hardware = pod.document(self.clock.now())
        return {
            **pod.body.get("env", {}),
            "RUNPOD_POD_ID": id,
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_POD_HOSTNAME": f"{id}-simulation",
            "RUNPOD_DC_ID": hardware["dataCenterId"],
            "RUNPOD_GPU_COUNT": str(hardware.get("gpu", {}).get("count", 0)),
            "RUNPOD_CPU_COUNT": str(hardware.get("cpu", {}).get("vcpuCount", 8)),
        }

    def _power_on(self, pod: Pod) -> bool:
        sandbox = self.run_machine(pod.id, self.pod_environment(pod.id))
        arguments = shlex.split(pod.body.get("args", ""))
        if sandbox and arguments:
            sandbox.run(arguments)
        return bool(sandbox and arguments)

    def preempt(self, id: str, notice_s: float = 5.0) -> None:  # noqa: A002
        """RunPod takes an interruptible pod back: SIGTERM for its process, and `notice_s` later it is EXITED."""
        with self.clock.lock:
            if id in self.room.running:
                self.room.running[id].tell(signal.SIGTERM, first_only=True)
            self.clock.at(self.clock.now() + notice_s, lambda: self.pods.end_container(id, "EXITED"))
            self.clock.settle()

    def leftovers(self) -> list[str]:
        free = [f"{kind} {name}" for kind in ("Template", "Registry") for name in self.shelves[kind]]
        return [*super().leftovers(), *free]

    def call_of(self, request: Request) -> str:
        """RunPod's `operationId`."""
        found = re.fullmatch(r"/v2/([a-z-]+)(?:/([^/]+))?(/action)?", request.path)
        if found and found[1] in COLLECTIONS:
            verb = {"GET": "get" if found[2] else "list", "POST": "create", "DELETE": "delete"}.get(request.method)
            one = COLLECTIONS[found[1]]
            if found[3]:
                return "podAction" if (one, request.method) == ("Pod", "POST") else "unknown"
            if verb and (verb in ("list", "create")) == (found[2] is None):
                return f"{verb}{plural(one) if verb == 'list' else one}"
        catalog = re.fullmatch(r"/v2/catalog/(gpus|cpus|datacenters)(/[^/]+)?", request.path)
        if catalog and request.method == "GET":
            one = {"gpus": "GpuType", "cpus": "CpuType", "datacenters": "DataCenter"}[catalog[1]]
            return f"get{one}" if catalog[2] else f"list{one}s"
        others = {("GET", "/v2/account/ssh-keys"): "listSshKeys", ("GET", "/v2/billing/pods"): "listPodBilling"}
        others[("POST", "/graphql")] = "podTerminate"
        return others.get((request.method, request.path), "unknown")

    def mutates(self, call: str) -> bool:
        return call.startswith(("create", "delete", "pod"))

    def refuse(self, kind: str) -> Reply:
        if kind == "throttled":
            return problem(Problem(429, "the rate limit is exceeded"), {"Retry-After": "1"})
        return problem(Problem(503, "the service is not available"))

    def perform(self, call: str, request: Request) -> Reply:
        try:
            self._authenticate(call, request)
            answer = ANSWERS.get(call)
            if answer is None:
                raise Problem(404, "there is no such path")
            for kind, refusal in REFUSALS.items():
                if self.faults.take(call, kind):
                    raise Problem(*refusal)
            return answer(self, request, request.path.split("/")[3] if request.path.count("/") > 2 else "")
        except Problem as refused:
            return problem(refused)

    def _authenticate(self, call: str, request: Request) -> None:
        """The account's key may do everything; the key of a pod may end that pod, if such keys may at all."""
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and key == KEY:
            return
        pod = next((pod for pod in self.pods.pods.values() if key == pod.key), None)
        if scheme != "Bearer" or pod is None:
            raise Problem(401, "the bearer token is missing or wrong")
        own = call in ("deletePod", "getPod") and request.path.split("/")[3] == pod.id and self.pods.self_delete
        if not own and not (call == "podTerminate" and pod.id.encode() in request.body):
            raise Problem(403, "access denied")

    def place_pod(self, body: Mapping[str, Any]) -> Pod:
        """Make a pod as asked, unless it breaks a rule, nobody has one, or the credit does not last for an hour."""
        check_pod(body)
        if not self.stock:
            raise Problem(400, "there are no instances currently available")
        slow = self.faults.take("createPod", "slow")
        stale = self.faults.take("createPod", "stale")
        later = self.faults.take("createPod", "no_capacity_later")
        pod = self.pods.create(body, slow.seconds if slow else 0.0, stale.seconds if stale else 0.0)
        if self.balance is not None and self.balance - self.ledger.usd() < pod.compute_usd_per_hour():
            self.pods.terminate(pod.id)
            raise Problem(402, "the balance does not last for an hour of this pod")
        if later:
            self.clock.at(self.clock.now() + later.seconds, lambda: self.pods.end_container(pod.id, "ERROR"))
        self._watch_balance()
        return pod

    def _watch_balance(self) -> None:
        """At no credit everything without a network volume is terminated; with one it would be stopped."""
        rate = sum(entry.usd_per_hour for entry in self.ledger.entries if entry.end is None)
        if self.balance is None or not rate:
            return
        self._exhaustion += 1
        number, left_s = self._exhaustion, (self.balance - self.ledger.usd()) / rate * 3600

        def exhausted() -> None:
            if number == self._exhaustion:
                for pod in list(self.pods.pods.values()):
                    self.pods.terminate(pod.id, by_cluster=True)

        self.clock.at(self.clock.now() + left_s, exhausted)
