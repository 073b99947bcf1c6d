"""The fake Google Cloud for TPUs that Compute Engine does not rent: Cloud TPU API by gRPC and REST, and Cloud Tasks."""

from __future__ import annotations

import json

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults, FaultTable, Kind
from cloudtrain.simulator.gcp.tpu.catalog import PROJECT, refusal
from cloudtrain.simulator.gcp.tpu.grpc_api import Rpc, serve
from cloudtrain.simulator.gcp.tpu.hosts import Hosts
from cloudtrain.simulator.gcp.tpu.rest_api import Rest, error_reply, route_of
from cloudtrain.simulator.gcp.tpu.state import TpuState
from cloudtrain.simulator.gcp.tpu.tasks import TaskState
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.ledger import Ledger

TOKEN = "PLANTED-SECRET-TPU-7c3e"  # noqa: S105  # planted: must never be seen anywhere
_READ: tuple[Kind, ...] = ("lost_reply", "dropped", "throttled", "unavailable")
_SEND: tuple[Kind, ...] = (*_READ, "late")
_MACHINE: tuple[Kind, ...] = (
    *_SEND,
    *("no_capacity", "no_capacity_later", "quota", "permission", "balance", "stale", "slow"),
)
FAULT_TABLE: FaultTable = [
    ("Tpu.CreateQueuedResource", _MACHINE),
    ("queuedResources.create", _MACHINE),
    *((call, (*_SEND, "refused")) for call in ("Tpu.DeleteQueuedResource", "Tpu.DeleteNode", "queuedResources.delete")),
    *((call, _READ) for call in ("Tpu.GetQueuedResource", "Tpu.GetNode", "queuedResources.get")),
    *((call, _READ) for call in ("tpu.locations.list", "queuedResources.list", "nodes.list")),
    ("queues.create", (*_SEND, "permission")),
    ("tasks.create", (*_SEND, "quota", "permission", "stale")),
    ("tasks.delete", (*_SEND, "refused")),
    *((call, _READ) for call in ("queues.get", "tasks.get", "tasks.list", "tasks.locations.list")),
    ("tasks.fire", ("unavailable",)),
]


class TpuCloud(Front):
    """One project behind two ports and one clock, ledger and list of faults.

    A gRPC server is dear to make; `reset` gives a fresh cloud behind the same ports. Settings of `tpu` (`wait_s`,
    `boot_s`, `delete_s`, `chips_per_zone`) hold until then. `tpu.preempt(node)` takes a node back, `preempt`
    the node of a machine that runs, after a notice.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._begin()
        self.rpc = Rpc(self, lambda: self.tpu)
        self._grpc, self._port = serve(self.rpc)

    def reset(self, clock: Clock | None = None) -> None:
        """Forget everything, and begin again on another clock (default: a real one)."""
        self.room.close()
        self.clock = clock or Clock()
        self._begin()

    def _begin(self) -> None:
        self.fault_table = list(FAULT_TABLE)
        self.faults, self.ledger, self.slow_s = Faults(), Ledger(self.clock), 0.0
        self.calls = []
        self.tpu = TpuState(self.clock, self.ledger, self.faults, PROJECT)
        self.tasks = TaskState(self.clock, self.faults, PROJECT, self._send_task)
        self.hosts = Hosts(self, self.tpu)
        self.rest = Rest(self.tpu, self.tasks, self.hosts.check_token)

    @property
    def endpoint(self) -> str:
        """Host and port of the gRPC server."""
        return f"127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        return {
            "CLOUDTRAIN_TPU_ENDPOINT": self.endpoint,
            "CLOUDTRAIN_TPU_URL": self.url,
            "CLOUDTRAIN_TASKS_URL": self.url,
            "CLOUDTRAIN_GCP_QUOTAS_URL": self.url,
            "CLOUDTRAIN_SIMULATOR_TOKEN": TOKEN,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    def stop(self) -> None:
        super().stop()
        self._grpc.stop(0.5).wait()  # lets idle clients part in peace, without a warning on their terminal

    def leftovers(self) -> list[str]:
        """Nodes, queued resources and tasks; not the queue, which all runs share."""
        with self.clock.lock:
            self.clock.run_due()
            records = [*self.tpu.nodes.values(), *self.tpu.queued.values()]
            names = [f"{record.name} ({record.state})" for record in records] + [*self.tasks.tasks]
            billed = [f"{entry.what} {entry.id}" for entry in self.ledger.running()]
        return billed + names

    def preempt(self, id: str, notice_s: float = 0.0, power_button: bool = False) -> None:  # noqa: A002
        """Google takes the node of this machine back, `notice_s` after the notice.

        `power_button`: the notice is also an ACPI event, at which a real guest's system ends everything with SIGTERM.
        """
        with self.clock.lock:
            self.hosts.preempt(id, notice_s, power_button)

    def asked_from_inside(self, id: str, path: str, request: Request) -> Reply:  # noqa: A002
        return self.hosts.asked(id, path, request)

    def power_off(self, id: str) -> None:  # noqa: A002
        self.hosts.end(id, "STOPPED")

    def crash(self, id: str) -> None:  # noqa: A002
        """A host of the node breaks."""
        self.hosts.end(id, "TERMINATED")

    def restart(self, id: str) -> None:  # noqa: A002
        self.room.running[id].boot_again(with_script=True)

    def call_of(self, request: Request) -> str:
        found = route_of(request)
        return found[0].call if found else f"{request.method} {request.path}"

    def mutates(self, call: str) -> bool:
        return call.endswith((".create", ".delete"))

    def perform(self, call: str, request: Request) -> Reply:
        if request.method == "GET" and (found := self.tpu.quotas.document(request.path)):
            return Reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})
        return self.rest.answer(request)

    def refuse(self, kind: str) -> Reply:
        return error_reply(refusal(kind))

    def _send_task(self, method: str, path: str, query: dict[str, list[str]]) -> None:
        """What Cloud Tasks sends when a task is due: only the deletes of the TPU API. Raises Refusal."""
        name = path.partition("/")[2].partition("/")[2]
        if method != "DELETE" or not path.startswith(("/v2/", "/v2alpha1/")):
            raise refusal("permission")
        if "/nodes/" in name:
            self.tpu.delete_node("tasks.fire", name)
        else:
            self.tpu.delete_queued("tasks.fire", name, query.get("force") == ["true"])
