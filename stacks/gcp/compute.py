"""Compute Engine as part of Google Cloud: v6e and v5p slices, and large processor machines.

One host is an instance. A slice of several is a workload policy, a template, and a managed group that makes all hosts
at once; it is unmade group first, because a group makes a deleted machine again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import Driver, Finding, Guard, OwnedResource, Resource

from .._lifecycle import boot, names
from . import service_account
from .shapes import Shape, provisioning, shape, zone

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

MARKETS = ("on_demand", "spot")
GUARDS = (
    Guard("instance time limit of Compute Engine, with DELETE", alone=True),
    Guard(
        "timer in the machine: deletes itself; where its service account may not, powers off, and the disk costs on",
        alone=True,
    ),
    Guard("client teardown", alone=False),
    Guard("sweep by label", alone=False),
)
_PAGES = {
    "instance": "compute/instancesDetail/zones/{zone}/instances/{id}",
    "instance_group": "compute/instanceGroups/details/{zone}/{id}",
    "instance_template": "compute/instanceTemplates/details/{id}",
    "disk": "compute/disksDetail/zones/{zone}/disks/{id}",
    "workload_policy": "compute/resourcePolicies",
}


def serves(key: OfferKey) -> bool:
    """Whether `resources` can make it."""
    return key.market in MARKETS and shape(key) is not None


def guards(offer: str, market: str) -> tuple[Guard, ...]:
    """What ends a run's cost here: the same for every machine and market.

    The timer in the machine comes two minutes after Google's limit on purpose: stopping a machine clears that limit,
    so a machine that powers itself off first would keep its disk, and its bill, until somebody sweeps.
    """
    return GUARDS


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """One instance, or policy, template and group for a slice of several hosts. Needs `serves(plan.line.key)`."""
    wanted = shape(plan.line.key)
    if wanted is None:
        raise ValueError(f"Compute Engine does not rent {plan.line.offer}")
    where = zone(plan.line.key, plan.attempt)
    place = {"project": account["project"], "region": where.rpartition("-")[0], "zone": where}
    market = plan.line.market

    def made(role: str, kind: str, after: tuple[str, ...], summary: str, **more: Any) -> Resource:
        inputs = names.base_inputs(plan, role, place, account.get("owner") or account["project"])
        token = names.request_id(plan, role)
        return Resource(role, kind, {**inputs, "kind": kind, "request_id": token, **more}, after, summary)

    disk_gb, model = plan.line.disk_to_ask_gb, provisioning(plan.line.key, where)
    title = "flex-start" if model == "FLEX_START" else market.replace("_", " ")
    machine: dict[str, Any] = {
        **boot.inputs(plan),
        **_machine(wanted, model, disk_gb),
        "service_account": service_account.address(account["project"]),
    }
    message = f"{wanted.machine_type}, {disk_gb:,} GB disk, {title}, {where}"
    if wanted.hosts == 1:
        return [made("machine", "instance", (), f"machine {message}", **machine)]
    hosts: dict[str, Any] = {"hosts": wanted.hosts, "machine_type": wanted.machine_type}
    return [
        made("policy", "workload_policy", (), f"workload policy {wanted.topology}", topology=wanted.topology),
        made("template", "instance_template", (), f"template of {wanted.machine_type}", **machine),
        made(
            *("machine", "instance_group", ("policy", "template")),
            f"group of {wanted.hosts} machines {message}",
            **hosts,
        ),
    ]


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterable[OwnedResource]:
    """Everything of ours; see `owned.list_owned`."""
    found: Iterable[OwnedResource] = _late("owned", "list_owned")(run, places)
    return found


def findings() -> Iterable[Finding]:
    """For doctor; see `doctor_checks.findings`."""
    found: Iterable[Finding] = _late("doctor_checks", "findings")()
    return found


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """Where a person looks at it."""
    place = inputs["place"]
    page = _PAGES.get(str(inputs.get("kind")), "compute/instances").format(zone=place.get("zone", ""), id=id)
    return f"https://console.cloud.google.com/{page}?project={place['project']}"


def _machine(wanted: Shape, model: str, disk_gb: int) -> dict[str, Any]:
    return {
        "machine_type": wanted.machine_type,
        "model": model,
        "image": wanted.image,
        "disk_gb": disk_gb,
        "disk_type": wanted.disk_type,
    }


def _late(module: str, verb: str, *first: str) -> Callable[..., Any]:
    """The function, from a module that is imported when it is called: every quote loads this file."""

    def run(*arguments: Any) -> Any:
        return getattr(import_module(f"{__package__}.{module}"), verb)(*first, *arguments)

    return run


def _driver(kind: str, **more: Any) -> Driver:
    create, find, status, delete = (_late("verbs", verb, kind) for verb in ("create", "find", "status", "delete"))
    return Driver(create, find, status, delete, **more)


DRIVERS: Mapping[str, Driver] = {
    "workload_policy": _driver("workload_policy", bills=False, ready_s=120.0),
    "instance_template": _driver("instance_template", bills=False, ready_s=120.0),
    "disk": _driver("disk", ready_s=120.0),
    "instance_group": _driver("instance_group", ready_s=1200.0),  # granted after 7 minutes in one report
    "instance": _driver("instance"),
}
