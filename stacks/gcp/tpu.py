"""The Cloud TPU API as part of Google Cloud: v5e and older slices, which Compute Engine does not rent.

Which market uses what:
- v5e on demand in a zone that has it: a flex-start queued resource of the v2alpha1 API, the only one with a time limit
  of the provider's own (`runDuration`, at most 7 days). It counts against the quota of preemptible chips. Its price is
  not listed; it is below on demand, so the quote is an upper bound.
- every spot slice, and what flex-start does not have: a queued resource of the v2 API. That has no limit on the run, so
  a Cloud Tasks task that deletes it at the deadline is armed first; its URL is known before the machine exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cloudtrain.providers import Driver, Finding, Guard, OwnedResource, Resource

from .._lifecycle import boot, names
from . import service_account

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey
    from cloudtrain.plan import Plan

QUEUE, TASK, QUEUED, FLEX = "time_limit_queue", "time_limit_task", "queued_resource", "flex_resource"
MARKETS = ("on_demand", "spot")
BOOT_DISK = "100 GB disk of its own"  # fixed and part of the price; what needs more is not offered here
LONGEST_FLEX_DAYS = 7
LARGEST_V5E_HOST = 8  # chips; what is larger is made of hosts with four
FLEX_ZONES = frozenset({"us-west4-a"})  # of v5e for training: cloud.google.com/tpu/docs/request-using-flex-start
CAPACITY_PATIENCE_S = 1800.0  # a queued resource waits for capacity; nothing is billed while it waits

_OFFER = re.compile(r"(v5litepod|v4|v3|v2)-[1-9]\d*")
_RUNTIMES = {"v5litepod": "v2-alpha-tpuv5-lite"}
_RUNTIME_OF_OLDER = "tpu-ubuntu2204-base"
# Cloud Tasks is not in every region that has TPUs. A task only sends a request to a global address, so it waits in a
# large region of the same continent, which also pleases most rules about where things may be.
_TASK_REGIONS = {"europe": "europe-west1", "asia": "asia-northeast1"}


def serves(key: OfferKey) -> bool:
    """Whether `resources` can make it: a v5e, v4, v3 or v2 slice with a zone, on demand or spot."""
    return bool(_OFFER.fullmatch(key.offer) and key.market in MARKETS and key.zone.split())


def hosts(offer: str) -> int:
    """How many machines are one slice: a v5e host has up to eight chips, an older one four, of two cores each."""
    generation, _, number = offer.rpartition("-")
    size = int(number)
    if generation == "v5litepod":
        return 1 if size <= LARGEST_V5E_HOST else size // 4
    return max(1, size // 8)


def is_flex(offer: str, market: str, zone: str) -> bool:
    """Whether it is rented by flex-start."""
    return _may_be_flex(offer, market) and zone in FLEX_ZONES


def guards(offer: str, market: str) -> tuple[Guard, ...]:
    """What ends a run's cost there. A sweep needs a client that runs it, so it does not count as independent."""
    by_client = (Guard("client teardown", alone=False), Guard("sweep by label", alone=False))
    at_the_provider = "Cloud Tasks delete at the deadline"
    if _may_be_flex(offer, market):  # which of the two depends on the zone
        at_the_provider = "flex-start run duration, or Cloud Tasks delete at the deadline"
    return (
        Guard(at_the_provider, alone=True),
        Guard("delete by the machine itself", alone=True),
        *by_client,
    )


def resources(plan: Plan, account: Mapping[str, str]) -> Sequence[Resource]:
    """The machine, and before it its time limit unless that is part of the machine's own request.

    `account` holds `project`, and perhaps `owner`. A further attempt takes the next of the line's zones.
    """
    offer, market = plan.line.offer, plan.line.market
    zones = plan.line.zone.split()
    zone = zones[(plan.attempt - 1) % len(zones)]
    place = {
        "project": account["project"],
        "region": zone.rpartition("-")[0],
        "zone": zone,
        "tasks": task_region(zone),
    }
    owner = account.get("owner") or account["project"]

    def inputs(role: str, **more: Any) -> dict[str, Any]:
        return {**names.base_inputs(plan, role, place, owner), **more}

    own = service_account.address(account["project"])  # as which the time limit deletes a machine, and it itself
    slice_ = {
        "request_id": names.request_id(plan, "machine"),
        "accelerator": offer,
        "runtime": _RUNTIMES.get(offer.partition("-")[0], _RUNTIME_OF_OLDER),
        "spot": market == "spot",
        **boot.inputs(plan),
    }
    if is_flex(offer, market, zone):
        summary = f"queued resource {offer}, {BOOT_DISK}, flex-start, {zone}"
        return [Resource("machine", FLEX, inputs("machine", **slice_, api="v2alpha1", worker=own), (), summary)]
    target = names.resource_name(plan, "machine")
    message = {"spot": "spot", "on_demand": "on demand"}[market]
    return [
        Resource("time-limit-queue", QUEUE, inputs("time-limit-queue"), (), f"Cloud Tasks queue in {place['tasks']}"),
        Resource(
            "time-limit",
            TASK,
            inputs("time-limit", target=target, worker=own),
            ("time-limit-queue",),
            f"task that deletes {target} at the deadline",
        ),
        Resource(
            "machine",
            QUEUED,
            inputs("machine", **slice_, api="v2", worker=own),
            ("time-limit",),
            f"queued resource {offer}, {BOOT_DISK}, {message}, {zone}",
        ),
    ]


def task_region(zone: str) -> str:
    """The region in which the time limit of a machine in `zone` waits."""
    return _TASK_REGIONS.get(zone.partition("-")[0], "us-central1")


def list_owned(run: str | None, places: Sequence[Mapping[str, str]] | None) -> Iterable[OwnedResource]:
    """Queued resources, nodes and time limits of ours; of one run's key or of all, in the places or in every zone.

    Raises provider errors when a place cannot be seen.
    """
    found: Iterable[OwnedResource] = _late("tpu_list", "list_owned")(run, places)
    return found


def findings() -> Iterable[Finding]:
    """For doctor: do both APIs answer, and what only a person can look up."""
    found: Iterable[Finding] = _late("tpu_list", "findings")()
    return found


def console_url(inputs: Mapping[str, Any], id: str) -> str:  # noqa: A002  # the seam's word
    """Where a person looks at one of these."""
    project, name = inputs["place"]["project"], id.rpartition("/")[2]
    if "/queues/" in id:
        region = inputs["place"].get("tasks", "us-central1")
        return f"https://console.cloud.google.com/cloudtasks/queue/{region}/cloudtrain/tasks?project={project}"
    if "/nodes/" in id:
        zone = inputs["place"]["zone"]
        return f"https://console.cloud.google.com/compute/tpus/details/{zone}/{name}?project={project}"
    return f"https://console.cloud.google.com/compute/queuedResources?project={project}"


def _may_be_flex(offer: str, market: str) -> bool:
    return offer.startswith("v5litepod-") and market == "on_demand"


def _late(module: str, verb: str) -> Callable[..., Any]:
    """The function, from a module that is imported when it is called: every quote loads this file."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"{__package__}.{module}"), verb)(*arguments)

    return call


def _driver(module: str, noun: str, **more: Any) -> Driver:
    create, find, status, delete = (_late(module, f"{verb}_{noun}") for verb in ("create", "find", "status", "delete"))
    return Driver(create, find, status, delete, **more)


DRIVERS: Mapping[str, Driver] = {
    QUEUE: _driver("tpu_limit", "queue", bills=False, shared=True, ready_s=120.0),
    TASK: _driver("tpu_limit", "task", bills=False, ready_s=120.0),
    QUEUED: _driver("tpu_machine", "queued", ready_s=CAPACITY_PATIENCE_S),
    FLEX: _driver("tpu_machine", "flex", ready_s=CAPACITY_PATIENCE_S),
}
