"""The machines of the fake's nodes that really run, one for each host of a slice, and what they know of themselves."""

from __future__ import annotations

import signal
from functools import partial

from cloudtrain.simulator.gcp.accounts import DEFAULT
from cloudtrain.simulator.gcp.compute import metadata
from cloudtrain.simulator.gcp.compute.resources import ROOT
from cloudtrain.simulator.gcp.tpu.catalog import CHIPS, Refusal
from cloudtrain.simulator.gcp.tpu.state import Record, TpuState
from cloudtrain.simulator.gcp.tpu.validation import Document
from cloudtrain.simulator.guests import machine_url
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.sandbox import played_tpu

SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # the only one that the Cloud TPU API takes
OWN_CALLS = ("queuedResources.delete", "nodes.delete")  # of the role `cloudtrainTpuMachine`
CHIPS_OF_A_HOST = 4
LARGEST_HOST = 8  # chips, of the generations whose chip has one core


def hosts_of(record: Record) -> int:
    """How many machines a node is."""
    generation = str(record.body["acceleratorType"]).partition("-")[0]
    if CHIPS[generation].cores == 1 and record.chips <= LARGEST_HOST:
        return 1
    return max(1, record.chips // CHIPS_OF_A_HOST)


class Hosts:
    """The machines of every node that is READY, by their ids, as documents that a metadata server answers from."""

    def __init__(self, cloud: Front, state: TpuState) -> None:
        self.cloud, self.state = cloud, state
        self.machines: dict[str, tuple[Record, Document]] = {}
        state.powered_on, state.powered_off = self._power_on, self._power_off

    def asked(self, id: str, path: str, request: Request) -> Reply:  # noqa: A002
        """What its metadata server answers a machine."""
        with self.cloud.clock.lock:
            found = self.machines.get(id)
        return metadata.answer(found[1], path, request) if found else Reply(404)

    def check_token(self, token: str, call: str) -> None:
        """A token of a machine deletes what its role lets it delete. Raises Refusal."""
        for _, machine in self.machines.values():
            if token != metadata.token_of(machine):
                continue
            account = machine["serviceAccounts"][0]
            if SCOPE not in account["scopes"]:
                raise Refusal("PERMISSION_DENIED", "Request had insufficient authentication scopes.")
            if account["email"] != DEFAULT and call not in OWN_CALLS:
                raise Refusal("PERMISSION_DENIED", f"Permission denied on {call}.")

    def end(self, id: str, state: str) -> None:  # noqa: A002
        """A machine is switched off or breaks: its node is in that state, and costs on until it is deleted."""
        self.state.stop(self.machines[id][0], state)

    def preempt(self, id: str, notice_s: float, power_button: bool) -> None:  # noqa: A002
        """Google takes the node of a machine back, `notice_s` after its hosts were told."""
        record = self.machines[id][0]
        for each, (node, machine) in self.machines.items():
            if node is record:
                machine["_preempted"] = True
                if power_button and each in self.cloud.room.running:
                    self.cloud.room.running[each].tell(signal.SIGTERM)
        self.cloud.clock.at(self.cloud.clock.now() + notice_s, partial(self._take_back, record))
        self.cloud.clock.run_due()

    def _take_back(self, record: Record) -> None:
        if self.state.nodes.get(record.name) is record and record.state == "READY":
            self.state.preempt(record.name)

    def _power_on(self, record: Record) -> None:
        for worker in range(hosts_of(record)):
            machine = self._document(record, worker)
            id_ = str(machine["id"])
            self.machines[id_] = (record, machine)
            inside = machine_url(self.cloud.url, id_)
            known = {"CLOUDTRAIN_METADATA": inside, "CLOUDTRAIN_TPU": self.cloud.url}
            sandbox = self.cloud.run_machine(id_, {**known, **played_tpu(record.chips // hosts_of(record))})
            script = metadata.startup_script(machine)
            if sandbox and script:
                sandbox.boot(script)

    def _power_off(self, record: Record) -> None:
        for id_ in [id_ for id_, (node, _) in self.machines.items() if node is record]:
            del self.machines[id_]
            self.cloud.room.cut(id_)

    def _document(self, record: Record, worker: int) -> Document:
        _, project, _, zone, _, _ = record.name.split("/")
        owner = self.state.queued.get(record.queued)
        account = record.body.get("serviceAccount", {})
        name = f"t1v-n-{record.number:08x}-w-{worker}"
        # As Google writes them; every host of a fake slice is to be found on this machine.
        ends = ",".join(["unknown:unknown:127.0.0.1"] * hosts_of(record))
        known = {"agent-worker-number": str(worker), "worker-network-endpoints": ends}
        return {
            "id": f"{record.number}{worker:03}",
            "name": name,
            "selfLink": f"{ROOT}/projects/{project}/zones/{zone}/instances/{name}",
            "machineType": record.body["acceleratorType"],
            "scheduling": {"provisioningModel": "SPOT" if owner and "spot" in owner.body else "STANDARD"},
            "serviceAccounts": [{"email": account.get("email", DEFAULT), "scopes": account.get("scope", [SCOPE])}],
            "metadata": {
                "items": [{"key": k, "value": v} for k, v in {**record.body.get("metadata", {}), **known}.items()]
            },
        }
