"""Managed instance groups of the fake Compute Engine: they make their machines, and make deleted ones again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.gcp.compute.documents import Refusal, check, invalid
from cloudtrain.simulator.gcp.compute.machines import QUOTA, STOCKOUT, TPU_TYPES, Machines
from cloudtrain.simulator.gcp.compute.resources import ROOT, Document, Failure, ResourceTable, Target


class Groups:
    """Zonal groups of the fake project."""

    def __init__(self, table: ResourceTable, machines: Machines) -> None:
        self.table = table
        self.machines = machines
        machines.ended = self.ended

    def insert(self, target: Target, body: Mapping[str, Any], fault: str = "", seconds: float = 0.0) -> Document:
        """The operation of an insert. A group without capacity or quota is made, and waits with errors in it."""
        check("InstanceGroupManager", body)
        if not body.get("baseInstanceName") or "targetSize" not in body:
            raise invalid("Required field 'resource.baseInstanceName' or 'resource.targetSize' not specified")
        template = self._referred(target, str(body.get("instanceTemplate", "")))
        if template is None:
            raise invalid("Invalid value for field 'resource.instanceTemplate': it does not exist.")
        policy = (body.get("resourcePolicies") or {}).get("workloadPolicy")
        if policy and self._referred(target, policy) is None:
            raise invalid("Invalid value for field 'resource.resourcePolicies.workloadPolicy': it does not exist.")
        group = self.table.put(target, {**body, "_target": target, "_deleting": False, "_starved": False})
        group["_slow_s"] = seconds if fault == "slow" else 0.0
        if fault == "stale":
            self.table.hidden[group["selfLink"]] = self.table.clock.now() + seconds
        if lacking := self.machines.lacking(target, template["properties"], int(body["targetSize"])):
            self._starve(group, lacking)
        elif fault in ("no_capacity", "quota"):
            self._starve(group, QUOTA if fault == "quota" else STOCKOUT)
        else:
            self.run_due()
        if fault == "no_capacity_later":
            self.table.clock.at(self.table.clock.now() + seconds, lambda: self._starve(group, STOCKOUT))
        return self.table.operate(target, "insert", self.machines.operation_s)

    def run_due(self) -> None:
        """Every group that is not on its way out makes what it lacks: also what a client deleted behind its back."""
        for group in self.table.of("instanceGroupManagers"):
            lacking = 0 if group["_starved"] or group["_deleting"] else group["targetSize"] - len(self.members(group))
            for _ in range(lacking):
                self._make_member(group)

    def members(self, group: Document) -> list[Document]:
        """Its machines."""
        return [item for item in self.table.of("instances") if item.get("_group") is group]

    def ended(self, machine: Document) -> None:
        """The provider ended a member by its time limit: the group wants one less."""
        if machine.get("_group"):
            machine["_group"]["targetSize"] -= 1

    def delete(self, target: Target, seconds: float) -> Document:
        """The operation of a delete: machines first, then the group."""
        group = self.table.get(target)
        group["_deleting"] = True

        def finish() -> None:
            for machine in self.members(group):
                self.machines.remove(machine)
            self.table.drop(group)

        return self.table.operate(target, "delete", seconds, finish)

    def document(self, group: Document) -> Document:
        """As it is answered, with what its machines do."""
        states = [machine["status"] for machine in self.members(group)]
        running = states.count("RUNNING")
        creating = group["targetSize"] - running
        actions = {"none": running, "creating": max(0, creating), "deleting": len(states) if group["_deleting"] else 0}
        stable = creating <= 0 and not group["_deleting"]
        return {**group, "currentActions": actions, "status": {"isStable": stable}}

    def errors(self, target: Target) -> list[Document]:
        """What `listErrors` says."""
        found = self.table.group_errors.get(self.table.get(target)["selfLink"], [])
        return [{"error": failure._asdict(), "timestamp": self.table.stamp()} for failure in found]

    def check_unused(self, link: str) -> None:
        """Refuse (400) to delete what a group uses."""
        short = link.removeprefix(f"{ROOT}/")
        for group in self.table.of("instanceGroupManagers"):
            policy = (group.get("resourcePolicies") or {}).get("workloadPolicy") or ""
            if str(group["instanceTemplate"]).endswith(short) or policy.endswith(short):
                used = group["selfLink"].removeprefix(f"{ROOT}/")
                message = f"The resource '{short}' is already being used by '{used}'"
                raise Refusal(400, "resourceInUseByAnotherResource", message)

    def _referred(self, target: Target, link: str) -> Document | None:
        full = link if link.startswith(ROOT) else f"{ROOT}/{link}"
        return self.table.items.get(full)

    def _starve(self, group: Document, failure: Failure) -> None:
        group["_starved"] = True
        for machine in self.members(group):
            self.machines.remove(machine)
        self.table.group_errors.setdefault(group["selfLink"], []).append(failure)

    def _make_member(self, group: Document) -> None:
        target: Target = group["_target"]
        template = self._referred(target, str(group["instanceTemplate"]))
        if template is None:
            return
        name = f"{group['baseInstanceName']}-{self.table.number():04x}"
        body = dict(template["properties"])
        known = {"created-by": group["selfLink"].removeprefix(f"{ROOT}/")}
        taken = {machine["_worker"] for machine in self.members(group)}
        worker = next(number for number in range(len(taken) + 1) if number not in taken)
        if body["machineType"] in TPU_TYPES:
            # As Google writes them; every host of a fake one is to be found on this machine.
            known["tpu-env"] = f"ACCELERATOR_TYPE: 'tpu'\nWORKER_ID: '{worker}'\n"
            known["worker-network-endpoints"] = ",".join(["127.0.0.1"] * int(group["targetSize"]))
        metadata = body.get("metadata") or {}
        more = [{"key": key, "value": value} for key, value in known.items()]
        body.update(
            name=name,
            machineType=f"{target.scope}/machineTypes/{body['machineType']}",
            metadata={**metadata, "items": [*metadata.get("items", []), *more]},
            _group=group,
            _worker=worker,
        )
        self.machines.make(target._replace(collection="instances", name=name), body, group["_slow_s"])
