"""A fake Google Compute Engine: REST v1 on loopback, strict, with operations, time limits, groups, and a ledger."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from functools import partial

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.accounts import ServiceAccounts
from cloudtrain.simulator.gcp.compute import metadata, query
from cloudtrain.simulator.gcp.compute.answers import (
    JSON,
    PROJECT,
    account_document,
    barred,
    check_uuid,
    kind_of,
    machine_type,
    place_document,
    public,
    quota_document,
    reply,
)
from cloudtrain.simulator.gcp.compute.calls import FAULT_TABLE, KINDS
from cloudtrain.simulator.gcp.compute.documents import Refusal, check, invalid, not_found
from cloudtrain.simulator.gcp.compute.groups import Groups
from cloudtrain.simulator.gcp.compute.machines import TPU_TYPES, Machines, check_properties
from cloudtrain.simulator.gcp.compute.resources import (
    ROOT,
    ZONE_LETTERS,
    ZONES,
    Document,
    Failure,
    ResourceTable,
    Target,
)
from cloudtrain.simulator.gcp.compute.routes import Route, route
from cloudtrain.simulator.gcp.quotas import Quotas
from cloudtrain.simulator.guests import machine_url
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.sandbox import played_tpu

TOKEN = "PLANTED-SECRET-GCE-4a1f"  # noqa: S105  # planted: a test looks whether it turns up anywhere


class GceCloud(Front):
    """One project in a fake Compute Engine. `preempt` and `stray_disk` make happen what nobody asked for."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.fault_table = FAULT_TABLE
        self.table = ResourceTable(self.clock, self.ledger)
        self.accounts = ServiceAccounts()
        self.quotas = Quotas(PROJECT)
        self.reset()

    def reset(self, clock: Clock | None = None) -> None:
        """An empty project, no faults, no calls; the port stays, and the clock unless there is a new one."""
        self.room.close()
        self.clock = self.ledger.clock = clock or self.clock
        self.ledger.entries.clear()
        self.faults.clear()
        self.faults.happened.clear()
        self.calls.clear()
        self.table = ResourceTable(self.clock, self.ledger, self.table.number())  # what is still due meets no new thing
        self.accounts, self.quotas = ServiceAccounts(), Quotas(PROJECT)
        self.machines = Machines(self.table, self.accounts, self.quotas)
        self.machines.powered_on = self._power_on
        self.machines.powered_off = lambda machine: self.room.cut(machine["id"])
        self.groups = Groups(self.table, self.machines)
        self._answered: dict[str, Document] = {}  # requestId -> operation

    def environment(self) -> dict[str, str]:
        return {
            "CLOUDTRAIN_GCE_URL": self.url,
            "CLOUDTRAIN_GCP_QUOTAS_URL": self.url,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "CLOUDTRAIN_SIMULATOR_TOKEN": TOKEN,
        }

    def leftovers(self) -> list[str]:
        self.run_due()
        free = [f"{item['selfLink'].removeprefix(ROOT)}" for kind in KINDS[2:] for item in self.table.of(kind)]
        return super().leftovers() + free

    def preempt(self, name: str, notice_s: float = 0.0, power_button: bool = False) -> None:
        """Google preempts a Spot machine, `notice_s` after the notice: deleted or stopped, as was asked for.

        `power_button`: the notice is also an ACPI event, at which a real guest's system ends everything with SIGTERM.
        """
        with self.clock.lock:
            for machine in [each for each in self.table.of("instances") if each["name"] == name]:
                machine["_preempted"] = True
                if power_button and machine["id"] in self.room.running:
                    self.room.running[machine["id"]].tell(signal.SIGTERM)
                action = machine["scheduling"].get("instanceTerminationAction", "STOP")
                self.clock.at(self.clock.now() + notice_s, partial(self.machines.end, machine, action))
            self.clock.run_due()

    def _power_on(self, machine: Document) -> None:
        inside = machine_url(self.url, machine["id"])
        known = {"CLOUDTRAIN_METADATA": inside, "CLOUDTRAIN_COMPUTE": self.url}
        chips = TPU_TYPES.get(str(machine["machineType"]).rpartition("/")[2], 0)
        sandbox = self.run_machine(machine["id"], {**known, **(played_tpu(chips) if chips else {})})
        script = metadata.startup_script(machine)
        if sandbox and script:
            sandbox.boot(script)

    def _machine(self, id: str) -> Document:  # noqa: A002
        return next(each for each in self.table.of("instances") if each["id"] == id)

    def asked_from_inside(self, id: str, path: str, request: Request) -> Reply:  # noqa: A002
        with self.clock.lock:
            machine = self._machine(id)
        return metadata.answer(machine, path, request)

    def power_off(self, id: str) -> None:  # noqa: A002
        self.machines.end(self._machine(id), "STOP")

    def crash(self, id: str) -> None:  # noqa: A002
        self.machines.end(self._machine(id), "STOP")

    def restart(self, id: str) -> None:  # noqa: A002
        self.room.running[id].boot_again(with_script=True)

    def call_of(self, request: Request) -> str:
        return route(request.method, request.path).call or f"{request.method} {request.path}"

    def mutates(self, call: str) -> bool:
        return call.endswith((".insert", ".delete"))

    def refuse(self, kind: str) -> Reply:
        if kind == "throttled":
            return reply(Refusal(429, "rateLimitExceeded", "Quota exceeded for 'Queries per minute'."))
        return reply(Refusal(503, "backendError", "Backend Error"))

    def perform(self, call: str, request: Request) -> Reply:
        self.run_due()
        asked = route(request.method, request.path)
        try:
            self._check_access(request, asked)
            if fault := self.faults.take(call, "permission", "balance"):
                raise barred(fault, call)
            return Reply(200, json.dumps(public(self._answer(asked, request))).encode(), JSON)
        except Refusal as refusal:
            return reply(refusal)

    def run_due(self) -> None:
        with self.clock.lock:
            self.clock.run_due()
            self.groups.run_due()
            self.clock.run_due()

    def _check_access(self, request: Request, asked: Route) -> None:
        if not request.headers.get("authorization", "").startswith("Bearer PLANTED-SECRET"):
            raise Refusal(401, "authError", "Request had invalid authentication credentials.")
        if not asked.call:
            raise Refusal(404, "notFound", f"The requested URL {request.path} was not found on this server.")
        if asked.target.project != PROJECT:
            raise not_found(f"projects/{asked.target.project}")
        metadata.check_token(request, self.table.of("instances"), asked.call, asked.target.name)
        place, _, where = asked.target.scope.partition("/")
        if where and where not in (ZONES if place == "zones" else ZONE_LETTERS):
            raise invalid(f"Invalid value for field '{place.removesuffix('s')}': '{where}'. Unknown {place}.")
        allowed = {"requestId", "noGracefulShutdown"} if self.mutates(asked.call) else query.parameters(asked.call)
        if unknown := set(request.query) - allowed:
            raise invalid(f'Invalid JSON payload received. Unknown name "{sorted(unknown)[0]}": Cannot bind parameter.')

    def _answer(self, asked: Route, request: Request) -> Document:
        if self.mutates(asked.call):
            return self._change(asked, request)
        verb = asked.call.split(".")[1]
        readers: dict[str, Callable[[Target, Request], Document]] = {
            "get": lambda target, _: self._get(target),
            "list": self._list,
            "aggregatedList": self._aggregated,
            "listErrors": lambda target, _: {"items": self.groups.errors(target)},
            "testIamPermissions": lambda _, sent: json.loads(sent.body),
            "getIamPolicy": lambda _, __: {"bindings": self.accounts.bindings},
            "quotaInfos": lambda _, sent: quota_document(self.quotas, sent),
        }
        if asked.target.collection == "serviceAccounts":
            return account_document(self.accounts, asked.target, request)
        if verb not in readers:
            raise Refusal(404, "notFound", f"The fake has no {asked.call}")
        document = readers[verb](asked.target, request)
        if verb in ("listErrors", "testIamPermissions", "getIamPolicy", "quotaInfos"):
            return document
        return {"kind": kind_of(asked.target, verb), **document}

    def _change(self, asked: Route, request: Request) -> Document:
        token = "".join(request.query.get("requestId", []))
        if token:
            check_uuid(token)
        if token in self._answered:
            return self._answered[token]
        verb = asked.call.split(".")[1]
        operation = (self._insert if verb == "insert" else self._delete)(asked, request)
        if token:
            self._answered[token] = operation
        return dict(operation)  # as it is now: what becomes of it has to be asked for

    def _insert(self, asked: Route, request: Request) -> Document:
        try:
            body = json.loads(request.body)
        except ValueError:
            raise Refusal(400, "parseError", "Parse Error") from None
        target = asked.target._replace(name=str(body.get("name", "")) if isinstance(body, dict) else "")
        if not re.fullmatch(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?", target.name):
            raise invalid(f"Invalid value for field 'resource.name': '{target.name}'.")
        kinds = ("no_capacity", "no_capacity_later", "quota", "stale", "slow")
        fault = self.faults.take(asked.call, *kinds)
        kind, seconds = (fault.kind, fault.seconds) if fault else ("", 0.0)
        if asked.call == "instances.insert":
            return self.machines.insert(target, body, kind, seconds)
        if asked.call == "instanceGroupManagers.insert":
            return self.groups.insert(target, body, kind, seconds)
        if kind == "quota":
            raise Refusal(403, "quotaExceeded", f"Quota '{target.collection.upper()}' exceeded. Limit: 0.0")
        return self._insert_free(target, body, seconds if kind == "stale" else 0.0)

    def _insert_free(self, target: Target, body: Document, hidden_s: float) -> Document:
        if target.collection == "instanceTemplates":
            check("InstanceTemplate", body)
            check_properties(body.get("properties") or {}, self.clock.now())
            if refused := self.accounts.refuses((body.get("properties") or {}).get("serviceAccounts") or []):
                return self.table.operate(target, "insert", self.machines.operation_s, lambda: Failure(*refused))
        elif target.collection == "resourcePolicies":
            check("ResourcePolicy", body)
        else:
            raise Refusal(404, "notFound", f"The fake makes no {target.collection}")
        document = self.table.put(target, body)
        self.table.hidden[document["selfLink"]] = self.clock.now() + hidden_s
        return self.table.operate(target, "insert", self.machines.operation_s)

    def _delete(self, asked: Route, request: Request) -> Document:
        target, seconds = asked.target, self.machines.operation_s
        document = self.table.get(target)
        if fault := self.faults.take(asked.call, "refused"):
            if len(self.faults.happened) % 2:
                raise Refusal(400, "resourceNotReady", f"The resource '{target.name}' is not ready")
            broken = Failure("RESOURCE_NOT_READY", f"The resource '{target.name}' is not ready")
            return self.table.operate(target, "delete", fault.seconds, lambda: broken)
        if target.collection == "instanceGroupManagers":
            return self.groups.delete(target, seconds)
        if target.collection == "instances":
            document["status"] = "STOPPING"
            return self.table.operate(target, "delete", seconds, lambda: self.machines.remove(document))
        if target.collection == "disks":
            if document["users"]:
                message = f"The disk resource '{target.name}' is already being used by '{document['users'][0]}'"
                raise Refusal(400, "resourceInUseByAnotherResource", message)
            return self.table.operate(target, "delete", seconds, lambda: self.machines.remove_disk(document))
        self.groups.check_unused(target.link)
        return self.table.operate(target, "delete", seconds, lambda: self.table.drop(document))

    def _get(self, target: Target) -> Document:
        if not target.collection:
            return place_document(target, self.quotas.gpus)
        if target.collection == "operations":
            for operation in self.table.operations:
                if operation["name"] == target.name:
                    return operation
            raise not_found(target.link.removeprefix(ROOT))
        if target.collection == "machineTypes":
            return machine_type(target)
        return self._shape(target.collection, self.table.get(target))

    def _shape(self, collection: str, document: Document) -> Document:
        return self.groups.document(document) if collection == "instanceGroupManagers" else document

    def _items(self, collection: str, prefix: str) -> list[Document]:
        if collection == "operations":
            found = self.table.operations
        else:
            found = [self._shape(collection, item) for item in self.table.shown(collection)]
        return [item for item in found if item["selfLink"].startswith(prefix)]

    def _list(self, target: Target, request: Request) -> Document:
        if not target.collection:
            names = ZONES if target.scope == "zones" else list(ZONE_LETTERS)
            found: list[Document] = [{"name": name, "status": "UP"} for name in names]
        else:
            found = self._items(target.collection, target.link)
        items, token = query.page(found, request.query)
        return {"items": items, **({"nextPageToken": token} if token else {})}

    def _aggregated(self, target: Target, request: Request) -> Document:
        if target.collection not in (*KINDS, "operations"):
            raise Refusal(404, "notFound", f"The fake has no {target.collection}")
        items, token = query.page(self._items(target.collection, ROOT), request.query)
        return {
            "items": query.scoped(items, target.collection),
            **({"nextPageToken": token} if token else {}),
        }
