"""A fake RunPod: REST API v2 on loopback, as strict as the real one, with its habits that cost money.

Names are not unique, lists come two at a time, members of a cluster are hidden, a container that exits is started
again for ever, stopped and broken pods keep costing, and no capacity looks like a broken rule.
"""

from __future__ import annotations

import re
import signal

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import FaultTable, Kind
from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.price_faults import PriceFaults
from cloudtrain.simulator.runpod.account import RunpodAccount
from cloudtrain.simulator.runpod.answers import ANSWERS, plural, problem
from cloudtrain.simulator.runpod.validation import Problem

KEY = "rpa_PLANTED-SECRET-RUNPOD"
COLLECTIONS = {"pods": "Pod", "clusters": "Cluster", "network-volumes": "NetworkVolume", "templates": "Template"}
COLLECTIONS |= {"registries": "Registry"}
READS: FaultTable = [
    (call, ("dropped", "throttled", "unavailable"))
    for call in ("listPods", "getPod", "listClusters", "listNetworkVolumes", "listTemplates", "listRegistries")
]
SENT: tuple[Kind, ...] = ("lost_reply", "dropped", "late", "throttled", "unavailable")
PLACED: tuple[Kind, ...] = ("no_capacity", "no_capacity_later", "permission", "balance", "stale", "slow")
FAULT_TABLE: FaultTable = [("createPod", (*SENT, *PLACED)), ("deletePod", (*SENT, "refused")), *READS]


REFUSALS = {
    "no_capacity": (400, "there are no instances currently available"),
    "permission": (403, "access denied"),
    "balance": (402, "the balance is insufficient"),
    "refused": (409, "the pod is locked"),
}


class RunpodCloud(RunpodAccount):
    """The account. `pods` holds pods and clusters; `balance` is the prepaid credit in dollars, or None: no end."""

    def __init__(self, clock: Clock | None = None, balance: float | None = None) -> None:
        super().__init__(clock, balance)
        self.fault_table = FAULT_TABLE

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_RUNPOD_URL": self.url, "RUNPOD_API_KEY": KEY}

    @property
    def price_faults(self) -> PriceFaults:
        """What is wrong with its prices."""
        return self.catalog.faults

    def preempt(self, id: str, notice_s: float = 5.0) -> None:  # noqa: A002
        """RunPod takes an interruptible pod back: SIGTERM for its process, and `notice_s` later it is EXITED."""
        with self.clock.lock:
            if id in self.room.running:
                self.room.running[id].tell(signal.SIGTERM, first_only=True)
            self.clock.at(self.clock.now() + notice_s, lambda: self.pods.end_container(id, "EXITED"))
            self.clock.run_due()

    def switch_off(self, id: str) -> None:  # noqa: A002
        self.pods.end_container(id, "EXITED")

    def crash(self, id: str) -> None:  # noqa: A002
        self.pods.end_container(id, "ERROR")

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
        others[("POST", "/graphql")] = "gpuTypes" if b"gpuTypes" in request.body else "podTerminate"
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
        if call == "gpuTypes":
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and key == KEY:
            return
        pod = next((pod for pod in self.pods.pods.values() if key == pod.key), None)
        if scheme != "Bearer" or pod is None:
            raise Problem(401, "the bearer token is missing or wrong")
        own = call in ("deletePod", "getPod") and request.path.split("/")[3] == pod.id and self.pods.self_delete
        if not own and not (call == "podTerminate" and pod.id.encode() in request.body):
            raise Problem(403, "access denied")


def roomy() -> RunpodCloud:
    """An account with room: nothing is in the way."""
    return RunpodCloud()
