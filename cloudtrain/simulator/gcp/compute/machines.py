"""Virtual machines of the fake Compute Engine: what an insert must say, how one starts, costs, and ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cloudtrain.simulator.gcp.accounts import ServiceAccounts
from cloudtrain.simulator.gcp.compute.documents import Refusal, check, invalid
from cloudtrain.simulator.gcp.compute.resources import Document, Failure, ResourceTable, Target
from cloudtrain.simulator.gcp.quotas import Name, Quotas, of_machine

TPU_TYPES = {"ct6e-standard-1t": 1, "ct6e-standard-4t": 4, "ct6e-standard-8t": 8, "ct5p-hightpu-4t": 4}
CPU_TYPE = re.compile(r"(c3|c3d|c4|c4d|m1|m3|m4|n4a|n4d)-(highmem|megamem|ultramem|standard)-\d+")
LARGEST_DISK_GB = 65536  # of Persistent Disk and Hyperdisk Balanced
HYPERDISK_ONLY = re.compile(r"(c4|c4d|m4|n4a|n4d)-.*")
ACCELERATED = "ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
FAMILIES = {ACCELERATED, "ubuntu-2404-lts-amd64", "ubuntu-2404-lts-arm64"}
USD_PER_CHIP_HOUR, USD_PER_CPU_HOUR, USD_PER_GB_HOUR = 2.7, 5.0, 0.1 / 730
STOCKOUT = Failure(
    "ZONE_RESOURCE_POOL_EXHAUSTED",
    "The zone does not have enough resources available to fulfill the request. Try a different zone, or try later.",
)
QUOTA = Failure("QUOTA_EXCEEDED", "Quota 'PREEMPTIBLE-TPU-V6E-per-project-region' exceeded. Limit: 0.0 in region.")
GPUS = Failure("QUOTA_EXCEEDED", "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.")


def check_properties(body: Mapping[str, Any], now: float) -> None:
    """What instances and templates have in common. Refuses (400, 403) what the real API would."""
    kind = str(body.get("machineType", "")).split("/")[-1]
    if kind.startswith("ct5l"):
        raise Refusal(403, "forbidden", f"This user agent is not allowed to use the machine type [{kind}].")
    if kind not in TPU_TYPES and not CPU_TYPE.fullmatch(kind):
        raise invalid(f"Invalid value for field 'resource.machineType': '{kind}'. The machine type does not exist.")
    if not body.get("networkInterfaces"):
        raise invalid("Invalid value for field 'resource.networkInterfaces': at least one network interface is needed.")
    _check_boot_disk(kind, body.get("disks") or [])
    _check_labels(body.get("labels") or {})
    _check_metadata((body.get("metadata") or {}).get("items") or [])
    _check_scheduling(kind, body.get("scheduling") or {}, now)


def _check_metadata(items: list[Mapping[str, str]]) -> None:
    """Compute Engine's limits for custom metadata: 256 KB in a value, 512 KB in all."""
    sizes = [len(str(each.get("value", "")).encode()) for each in items]
    if max(sizes, default=0) > 256 * 1024 or sum(sizes) > 512 * 1024:
        raise invalid("Value for field 'resource.metadata' is too large: maximum size 262144 character(s).")
    if any(not re.fullmatch(r"[a-zA-Z0-9-_]{1,128}", str(each.get("key", ""))) for each in items):
        raise invalid("Invalid value for field 'resource.metadata.items.key'.")


def _check_boot_disk(kind: str, disks: list[Mapping[str, Any]]) -> None:
    boot = [disk for disk in disks if disk.get("boot")]
    if len(boot) != 1 or "initializeParams" not in boot[0]:
        raise invalid("Invalid value for field 'resource.disks': one boot disk is needed.")
    payload = boot[0]["initializeParams"]
    family = str(payload.get("sourceImage", "")).split("/")[-1]
    if family not in FAMILIES:
        raise Refusal(404, "notFound", f"The resource '{payload.get('sourceImage')}' was not found")
    if (family == ACCELERATED) != (kind in TPU_TYPES) or family.endswith("arm64") != kind.startswith("n4a"):
        raise invalid(f"The image {family} is not for the machine type {kind}.")
    if int(payload.get("diskSizeGb", 10)) < 10:
        raise invalid("Requested disk size cannot be smaller than the image size (10 GB)")
    if int(payload.get("diskSizeGb", 10)) > LARGEST_DISK_GB:
        raise invalid(f"Disk size: '{payload['diskSizeGb']} GB' cannot be larger than {LARGEST_DISK_GB} GB.")
    disk_type = str(payload.get("diskType", "")).split("/")[-1]
    if HYPERDISK_ONLY.fullmatch(kind) and not disk_type.startswith("hyperdisk"):
        raise invalid(f"[{disk_type or 'pd-standard'}] features are not compatible with the machine type {kind}.")
    _check_labels(payload.get("labels") or {})


def _check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise invalid(f"Invalid value for field 'resource.labels': '{key}={value}'.")


def _check_scheduling(kind: str, payload: Mapping[str, Any], now: float) -> None:
    model = payload.get("provisioningModel", "STANDARD")
    if (kind in TPU_TYPES or model != "STANDARD") and payload.get("onHostMaintenance") != "TERMINATE":
        raise invalid(f"onHostMaintenance must be TERMINATE for {kind} with {model}.")
    if model != "STANDARD" and payload.get("automaticRestart", True):
        raise invalid("Scheduling must have automaticRestart false for this provisioning model.")
    if "maxRunDuration" in payload and "terminationTime" in payload:
        raise invalid("Only one of maxRunDuration and terminationTime may be given.")
    limited = "maxRunDuration" in payload or "terminationTime" in payload
    if payload.get("instanceTerminationAction") and not limited and model == "STANDARD":
        raise invalid("instanceTerminationAction needs a time limit or the Spot model.")
    shortest, longest = (600.0, 7 * 86400.0) if model == "FLEX_START" else (30.0, 120 * 86400.0)
    if limited and not shortest <= _limit_s(payload, now) <= longest:
        raise invalid(f"The time limit of a VM must be from {shortest:.0f} s to {longest / 86400:.0f} days.")


def _limit_s(payload: Mapping[str, Any], now: float) -> float:
    if "maxRunDuration" in payload:
        return float(payload["maxRunDuration"].get("seconds", 0))
    try:
        return datetime.fromisoformat(payload["terminationTime"]).timestamp() - now
    except (ValueError, TypeError):
        raise invalid("Invalid value for field 'resource.scheduling.terminationTime'.") from None


class Machines:
    """Starts and ends the machines of a project. `boot_s` until RUNNING; `operation_s` until an operation is done."""

    def __init__(self, table: ResourceTable, accounts: ServiceAccounts, quotas: Quotas) -> None:
        self.table = table
        self.accounts = accounts
        self.quotas = quotas
        self.boot_s = 0.05
        self.operation_s = 0.0
        self.ended: Callable[[Document], None] = lambda machine: None  # a group hears of its machine's end
        self.powered_on: Callable[[Document], None] = lambda machine: None  # the guest boots
        self.powered_off: Callable[[Document], None] = lambda machine: None  # nothing runs in it any more

    def insert(self, target: Target, body: Mapping[str, Any], fault: str = "", seconds: float = 0.0) -> Document:
        """The operation of an insert that is taken. With a fault it fails: at once, or after `seconds` of STAGING."""
        check("Instance", body)
        queue = (body.get("params") or {}).get("requestValidForDuration")
        flexible = (body.get("scheduling") or {}).get("provisioningModel") == "FLEX_START"
        if queue is not None and (not flexible or int(queue.get("seconds", 0)) > 7200):
            raise invalid("requestValidForDuration is for FLEX_START, up to 7200 s.")
        if f"{target.scope}/machineTypes/" not in str(body.get("machineType", "")):
            raise invalid("Invalid value for field 'resource.machineType': it is not in the zone of the request.")
        check_properties(body, self.table.clock.now())
        if refused := self.accounts.refuses(body.get("serviceAccounts") or []):
            return self.table.operate(target, "insert", self.operation_s, lambda: Failure(*refused))
        if lacking := self.lacking(target, body, 1):
            return self.table.operate(target, "insert", self.operation_s, lambda: lacking)
        machine = self.make(target, body, slow_s=seconds if fault == "slow" else 0.0)
        if fault == "stale":
            self.table.hidden[machine["selfLink"]] = self.table.clock.now() + seconds
        if fault not in ("no_capacity", "no_capacity_later", "quota"):
            return self.table.operate(target, "insert", self.operation_s)

        def give_up() -> Failure | None:
            if not self.table.exists(machine):
                return None  # deleted meanwhile
            self.remove(machine)
            return QUOTA if fault == "quota" else STOCKOUT

        machine["_fails"] = True
        return self.table.operate(target, "insert", seconds if fault == "no_capacity_later" else 0.0, give_up)

    def lacking(self, target: Target, body: Mapping[str, Any], count: int) -> Failure | None:
        """Why so many more machines would be more than the project may have there; None when they would not."""
        name, zone = _quota_of(body), target.scope.partition("/")[2]
        if name is None:
            return None
        if not self.quotas.gpus:
            return GPUS
        region = zone.rpartition("-")[0]
        held = (each for each in self.table.of("instances") if _quota_of(each) == name)
        chips = sum(_chips(each) for each in held if f"/zones/{region}-" in each["selfLink"])
        limit = self.quotas.limit(name, region)
        if chips + count * _chips(body) <= limit:
            return None
        return Failure("QUOTA_EXCEEDED", f"Quota '{name.id}' exceeded. Limit: {limit:.1f} in region {region}.")

    def make(self, target: Target, body: Mapping[str, Any], slow_s: float = 0.0) -> Document:
        """A machine that is being made, with its boot disk; both cost from now on. Refuses (409) a taken name."""
        table, now = self.table, self.table.clock.now()
        flexible = (body.get("scheduling") or {}).get("provisioningModel") == "FLEX_START"
        machine = table.put(target, {**body, "status": "PENDING" if flexible else "PROVISIONING"})
        boot = next(disk for disk in body["disks"] if disk.get("boot"))
        payload = boot["initializeParams"]
        place = target._replace(collection="disks", name=payload.get("diskName") or target.name)
        disk = table.put(place, {"name": place.name, "users": [target.link], "labels": payload.get("labels") or {}})
        size_gb = int(payload.get("diskSizeGb", 10))
        disk["sizeGb"] = str(size_gb)
        machine["disks"] = [{"boot": True, "source": place.link, "autoDelete": bool(boot.get("autoDelete"))}]
        octet = int(machine["id"]) % 250
        port = {"networkIP": f"10.128.0.{octet}", "accessConfigs": [{"natIP": f"203.0.113.{octet}"}]}
        machine["networkInterfaces"] = [{**body["networkInterfaces"][0], **port}]
        table.ledger.open(disk["id"], f"disk {place.name}", size_gb * USD_PER_GB_HOUR, disk["labels"])
        table.ledger.open(machine["id"], f"instance {target.name}", _usd_per_hour(body), body.get("labels"))
        table.clock.at(now + slow_s + self.boot_s, lambda: self._started(machine))
        if "terminationTime" in (body.get("scheduling") or {}):
            table.clock.at(now + _limit_s(body["scheduling"], now), lambda: self._time_is_up(machine))
        return machine

    def remove(self, machine: Document) -> None:
        """The machine is gone, and the disk with it if it is to be."""
        table = self.table
        if not table.exists(machine):
            return
        self.powered_off(machine)
        table.drop(machine)
        table.ledger.close(machine["id"])
        for part in machine["disks"]:
            disk = table.items.get(part["source"])
            if disk is not None:
                disk["users"] = []
                if part["autoDelete"]:
                    self.remove_disk(disk)

    def remove_disk(self, disk: Document) -> None:
        """The disk is gone and costs nothing."""
        self.table.drop(disk)
        self.table.ledger.close(disk["id"])

    def end(self, machine: Document, action: str) -> None:
        """What the provider does to a machine of its own accord: delete it, or stop it and let the disk cost on."""
        if not self.table.exists(machine):
            return
        if action == "DELETE":
            self.remove(machine)
            self.ended(machine)
        else:
            self.powered_off(machine)
            machine["status"] = "TERMINATED"
            self.table.ledger.close(machine["id"])

    def _started(self, machine: Document) -> None:
        if not self.table.exists(machine) or machine["status"] not in ("PENDING", "PROVISIONING", "STAGING"):
            return
        if machine.get("_fails"):
            machine["status"] = "STAGING"
            return
        machine["status"] = "RUNNING"
        payload = machine.get("scheduling") or {}
        limit = payload.get("maxRunDuration")
        if limit is None and payload.get("provisioningModel") == "FLEX_START":
            limit = {"seconds": "86400"}
        if limit is not None:
            when = self.table.clock.now() + float(limit.get("seconds", 0))
            self.table.clock.at(when, lambda: self._time_is_up(machine))
        self.powered_on(machine)

    def _time_is_up(self, machine: Document) -> None:
        if machine["status"] == "TERMINATED":
            return  # stopping clears the limit: a stopped machine is not deleted by it any more
        self.end(machine, (machine.get("scheduling") or {}).get("instanceTerminationAction") or "STOP")


def _chips(body: Mapping[str, Any]) -> int:
    return TPU_TYPES.get(str(body["machineType"]).rpartition("/")[2], 0)


def _quota_of(body: Mapping[str, Any]) -> Name | None:
    model = (body.get("scheduling") or {}).get("provisioningModel", "STANDARD")
    return of_machine(str(body["machineType"]).rpartition("/")[2], model)


def _usd_per_hour(body: Mapping[str, Any]) -> float:
    kind = str(body["machineType"]).split("/")[-1]
    full = TPU_TYPES[kind] * USD_PER_CHIP_HOUR if kind in TPU_TYPES else USD_PER_CPU_HOUR
    return full * (0.4 if (body.get("scheduling") or {}).get("provisioningModel") == "SPOT" else 1.0)
