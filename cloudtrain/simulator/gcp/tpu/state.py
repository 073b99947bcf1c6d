"""The inside of the fake Cloud TPU API: queued resources and nodes that come, wait, fail and go under the clock.

Documents are the REST form of v2alpha1, of which v2 is a part. A node costs money from the moment it exists, a little
earlier than in reality (READY), so that no half-made one escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults
from cloudtrain.simulator.gcp.quotas import Name, Quotas, of_slice
from cloudtrain.simulator.gcp.tpu.catalog import (
    ACT_AS,
    CHIPS,
    PROJECT,
    REFUSALS,
    WORKER,
    ZONES,
    Refusal,
    generation_of,
    refusal,
)
from cloudtrain.simulator.gcp.tpu.validation import Document, checked_spec, flex_seconds, valid_until
from cloudtrain.simulator.ledger import Ledger

WAITING = "WAITING_FOR_RESOURCES"  # Google shows it where it once showed ACCEPTED
PAGE = 2  # so that whoever reads only the first page is found out


@dataclass
class Record:
    """A queued resource or a node: its full name, what was asked for, its state, and until when lists lack it."""

    name: str
    body: Document
    state: str
    hidden_until: float = 0.0
    error: Document | None = None
    node: str = ""  # of a queued resource: the node that it makes
    queued: str = ""  # of a node: the queued resource that made it
    chips: int = 0
    number: int = 0  # of a node: no other has it


@dataclass
class TpuState:
    """All zones of one project. The caller holds the clock's lock."""

    clock: Clock
    ledger: Ledger
    faults: Faults
    project: str
    wait_s: float = 1.0  # from accepted to a node
    boot_s: float = 1.0  # from a node to READY
    delete_s: float = 1.0
    account: str = WORKER  # the one that there is, and that the caller may act as
    chips_per_zone: int = 512  # the quota; what FAILED or SUSPENDED holds counts too
    quotas: Quotas = field(default_factory=lambda: Quotas(PROJECT))
    queued: dict[str, Record] = field(default_factory=dict)
    nodes: dict[str, Record] = field(default_factory=dict)
    operations: dict[str, Document] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[Document, Document]] = field(default_factory=dict)
    made: int = 0  # nodes so far
    powered_on: Callable[[Record], None] = lambda record: None  # its guests boot
    powered_off: Callable[[Record], None] = lambda record: None  # nothing runs in it any more

    def create_queued(self, call: str, parent: str, name: str, body: Document, request_id: str) -> Document:
        """Accept a request for a node; the answer is an operation. Raises Refusal."""
        zone = self.zone_of(parent)
        path = f"{parent}/queuedResources/{_id(name)}"
        if request_id and (parent, request_id) in self.requests:
            earlier, answer = self.requests[parent, request_id]
            if earlier != body:
                raise Refusal("INVALID_ARGUMENT", "The request id was used with another request.")
            return answer
        node_id, node = checked_spec(body, parent)
        _, chips = generation_of(node, zone)
        account = node.get("serviceAccount", {}).get("email", self.account)
        if account != self.account:
            raise Refusal("PERMISSION_DENIED", ACT_AS)
        gives_up = valid_until(body, self.clock.now())
        if path in self.queued:
            raise Refusal("ALREADY_EXISTS", f"Resource '{path}' already exists.")
        if f"{parent}/nodes/{node_id}" in self.nodes:
            raise Refusal("ALREADY_EXISTS", f"Resource '{parent}/nodes/{node_id}' already exists.")
        preemptible = "spot" in body or body.get("provisioningModel") in ("SPOT", "FLEX_START")
        self._admit(call, zone, chips, of_slice(str(node["acceleratorType"]), preemptible))
        record = Record(path, dict(body), WAITING, self._hidden(call), None, f"{parent}/nodes/{node_id}", "", chips)
        self.queued[path] = record
        slow = self.faults.take(call, "slow")
        fails = self.faults.take(call, "no_capacity_later")
        begin = self.clock.now() + (slow.seconds if slow else self.wait_s)
        if fails:
            self.clock.at(self.clock.now() + fails.seconds, lambda: self._fail(record, 8, REFUSALS["no_capacity"][1]))
        else:
            self.clock.at(begin, lambda: self._provision(record, node))
        if gives_up is not None:
            message = "The request was not fulfilled before its valid-until time."
            self.clock.at(gives_up, lambda: self._fail(record, 9, message))
        answer = self._operation(parent, path)
        if request_id:
            self.requests[parent, request_id] = (dict(body), answer)
        return answer

    def delete_queued(self, call: str, path: str, force: bool) -> Document:
        """Begin the end of a queued resource, and with `force` of its node. Raises Refusal."""
        record = self.find(self.queued, path)
        if self.faults.take(call, "refused") or record.state == "DELETING":
            raise refusal("refused")
        node = self.nodes.get(record.node)
        if node and not force:
            raise Refusal("FAILED_PRECONDITION", "The queued resource still has nodes; delete them or use force.")
        record.state = "DELETING"
        if node:
            node.state = "DELETING"
        self.clock.at(self.clock.now() + self.delete_s, lambda: self._gone(record))
        return self._operation(path.rpartition("/queuedResources/")[0], path)

    def create_node(self, call: str, parent: str, name: str, body: Document) -> Document:
        """Make a node without a queued resource. Raises Refusal."""
        zone = self.zone_of(parent)
        checked_spec({"spot": {}, "tpu": {"nodeSpec": [{"parent": parent, "nodeId": name, "node": body}]}}, parent)
        _, chips = generation_of(body, zone)
        if f"{parent}/nodes/{name}" in self.nodes:
            raise Refusal("ALREADY_EXISTS", f"Resource '{parent}/nodes/{name}' already exists.")
        self._admit(call, zone, chips, None)
        path = f"{parent}/nodes/{_id(name)}"
        record = Record(path, dict(body), "CREATING", self._hidden(call), chips=chips)
        self._begin_node(record)
        return self._operation(parent, path, done=False)

    def delete_node(self, call: str, path: str) -> Document:
        """Begin the end of a node. Raises Refusal."""
        record = self.find(self.nodes, path)
        if self.faults.take(call, "refused") or record.state == "DELETING":
            raise refusal("refused")
        record.state = "DELETING"
        self.clock.at(self.clock.now() + self.delete_s, lambda: self._gone_node(path, record))
        return self._operation(path.rpartition("/nodes/")[0], path)

    def preempt(self, node: str) -> None:
        """Google takes a spot node back: it stays as a name that costs nothing, its queued resource is SUSPENDED."""
        with self.clock.lock:
            record = self.find(self.nodes, node)
            record.state = "PREEMPTED"
            self.powered_off(record)
            self.ledger.close(node)
            if record.queued in self.queued:
                self.queued[record.queued].state = "SUSPENDED"

    def stop(self, record: Record, state: str) -> None:
        """Nothing runs in a node any more; it is in that state, and costs on: nobody says that it would not."""
        if self.nodes.get(record.name) is record and record.state == "READY":
            record.state = state
            self.powered_off(record)

    def show(self, record: Record) -> Document:
        """The document of a queued resource or a node."""
        if "/nodes/" in record.name:
            number = sum(map(ord, record.name)) % 250 + 1
            more: Document = {"queuedResource": record.queued} if record.queued else {}
            if record.state == "READY":
                outside = {"externalIp": f"203.0.113.{number}"}
                more["networkEndpoints"] = [{"ipAddress": f"10.0.0.{number}", "port": 8470, "accessConfig": outside}]
            return {**record.body, "name": record.name, "state": record.state, **more}
        state: Document = {"state": record.state}
        if record.error:
            state["failedData"] = {"error": record.error}
        return {**record.body, "name": record.name, "state": state}

    def page(self, records: Iterable[Record], parent: str, token: str) -> tuple[list[Document], str]:
        """One page of what is in a zone, and the token of the next. Raises Refusal for the list over all zones."""
        self.zone_of(parent)
        now = self.clock.now()
        mine = [r for r in records if r.name.startswith(f"{parent}/") and r.hidden_until <= now]
        begin = int(token or 0)
        following = str(begin + PAGE) if begin + PAGE < len(mine) else ""
        return [self.show(record) for record in mine[begin : begin + PAGE]], following

    def find(self, records: Mapping[str, Record], path: str) -> Record:
        """The record of a full name. Raises Refusal."""
        if path not in records:
            raise Refusal("NOT_FOUND", f"Resource '{path}' was not found")
        return records[path]

    def zone_of(self, parent: str) -> str:
        """The zone in `projects/P/locations/Z`. Raises Refusal for another project, no zone, and `-`."""
        matched = re.fullmatch(r"projects/([^/]+)/locations/([^/]+)", parent)
        if not matched or matched[1] != self.project:
            raise refusal("permission")
        if matched[2] not in ZONES:
            raise Refusal("INVALID_ARGUMENT", f"Location {matched[2]} is not a zone of this API.")
        return matched[2]

    def _admit(self, call: str, zone: str, chips: int, pool: Name | None) -> None:
        if fault := self.faults.take(call, "no_capacity", "quota", "permission", "balance"):
            raise refusal(fault.kind)
        alone = (node for node in self.nodes.values() if not node.queued)
        held = sum(r.chips for r in (*self.queued.values(), *alone) if f"/locations/{zone}/" in r.name)
        if held + chips > self.chips_per_zone:
            raise refusal("quota")
        if pool is not None and chips > (limit := self.quotas.limit(pool, zone)):
            message = f"Quota limit '{pool.id}' has been exceeded. Limit: {limit} in zone {zone}."
            raise Refusal("RESOURCE_EXHAUSTED", message)

    def _hidden(self, call: str) -> float:
        fault = self.faults.take(call, "stale")
        return self.clock.now() + fault.seconds if fault else 0.0

    def _provision(self, record: Record, node: Document) -> None:
        if self.queued.get(record.name) is not record or record.state != WAITING:
            return  # gone, going or failed meanwhile
        record.state = "PROVISIONING"
        made = Record(record.node, dict(node), "CREATING", record.hidden_until, queued=record.name, chips=record.chips)
        self._begin_node(made)
        runs_s = flex_seconds(record.body, self.clock.now())
        if runs_s is not None:
            self.clock.at(self.clock.now() + max(0.0, runs_s), lambda: self._suspend(record, made))

    def _begin_node(self, record: Record) -> None:
        self.made += 1
        record.number = self.made
        self.nodes[record.name] = record
        generation = str(record.body["acceleratorType"]).partition("-")[0]
        per_hour = CHIPS[generation].usd_per_chip_hour * record.chips
        self.ledger.open(record.name, "TPU node", per_hour, record.body.get("labels"))
        self.clock.at(self.clock.now() + self.boot_s, lambda: self._boot(record))

    def _boot(self, record: Record) -> None:
        if record.state != "CREATING":
            return
        record.state = "READY"
        for operation in self.operations.values():
            if operation["metadata"]["target"] == record.name:
                operation["done"] = True
        owner = self.queued.get(record.queued)
        if owner and owner.state == "PROVISIONING":
            owner.state = "ACTIVE"
        self.powered_on(record)

    def _fail(self, record: Record, code: int, message: str) -> None:
        if record.state == WAITING:
            record.state, record.error = "FAILED", {"code": code, "message": message}

    def _suspend(self, record: Record, node: Record) -> None:
        if self.nodes.get(node.name) is node and record.state != "DELETING":
            self._gone_node(node.name, node)
            record.state = "SUSPENDED"

    def _gone(self, record: Record) -> None:
        node = self.nodes.get(record.node)
        if node and node.queued == record.name:
            self._gone_node(record.node, node)
        if self.queued.get(record.name) is record:
            del self.queued[record.name]

    def _gone_node(self, path: str, record: Record) -> None:
        if self.nodes.get(path) is record:
            del self.nodes[path]
            self.powered_off(record)
            self.ledger.close(path)

    def _operation(self, parent: str, target: str, done: bool = True) -> Document:
        name = f"{parent}/operations/operation-{len(self.operations) + 1}"
        self.operations[name] = {"name": name, "done": done, "metadata": {"target": target}}
        return self.operations[name]


def _id(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.~+%-]{1,63}", name):
        raise Refusal("INVALID_ARGUMENT", f"{name!r} is not an id.")
    return name
