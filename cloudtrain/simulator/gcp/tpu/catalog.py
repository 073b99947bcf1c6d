"""What the fake Cloud TPU API rents where, and how it refuses: a small part of the real lists, as of 2026-11.

Sources: the zones of the price snapshot (Cloud Billing SKUs by zone) and docs.cloud.google.com/tpu/docs/runtimes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cloudtrain.simulator.gcp.accounts import MACHINES

PROJECT = "simulation-project"
ACT_AS = "The principal lacks iam.serviceAccounts.actAs on the service account."
WORKER = MACHINES  # the account that there is, and that the caller may act as


class Chip(NamedTuple):
    """One generation: suffixes of its accelerator types, runtimes, zones, dollars per chip-hour, cores per chip."""

    sizes: frozenset[int]
    runtimes: frozenset[str]
    zones: frozenset[str]
    usd_per_chip_hour: float
    cores: int  # what the suffix counts, per chip


def _zones(text: str) -> frozenset[str]:
    return frozenset(text.split())


_POWERS = frozenset({8, 16, 32, 64, 128, 256})
_PODS = frozenset({8, 32})
_SLICES = _POWERS | {1, 4}
_OLD = _zones("tpu-ubuntu2204-base")
CHIPS: Mapping[str, Chip] = {
    "v2": Chip(_PODS, _OLD, _zones("us-central1-b us-central1-c us-central1-f europe-west4-a asia-east1-c"), 1.125, 2),
    "v3": Chip(_PODS, _OLD, _zones("us-central1-a us-central1-b us-central1-f us-east1-d europe-west4-a"), 2.0, 2),
    "v4": Chip(_POWERS, _OLD, _zones("us-central2-b"), 3.22, 2),
    "v5litepod": Chip(
        _SLICES,
        _zones("v2-alpha-tpuv5-lite"),
        _zones(
            "us-central1-a us-east1-b us-east1-c us-west1-c us-east5-a us-east5-b us-east5-c us-west4-a us-west4-b "
            "us-south1-a us-south1-b northamerica-northeast1-b europe-west1-b europe-west1-c europe-north1-a "
            "europe-north1-c europe-west3-c europe-west4-a europe-west4-b asia-east1-a asia-east1-b asia-east1-c "
            "asia-northeast1-b asia-southeast1-b southamerica-west1-b southamerica-west1-c"
        ),
        1.2,
        1,
    ),
    "v5p": Chip(
        _POWERS,
        _zones("v2-alpha-tpuv5"),
        _zones("us-central1-a us-east5-a us-east5-b us-east5-c europe-west4-b"),
        4.2,
        2,
    ),
    "v6e": Chip(
        _SLICES, _zones("v2-alpha-tpuv6e"), _zones("us-central1-b us-east5-a us-east5-b europe-west4-a"), 2.7, 1
    ),
}
# Where flex-start is: cloud.google.com/tpu/docs/request-using-flex-start.
FLEX: Mapping[str, frozenset[str]] = {
    "v5litepod": _zones("us-west4-a us-central1-a"),
    "v6e": _zones("asia-northeast1-b us-east5-a"),
}
ZONES = sorted(frozenset().union(*(chip.zones for chip in CHIPS.values())))
REGIONS = ("asia-northeast1", "europe-west1", "europe-west4", "us-central1", "us-west1")  # of Cloud Tasks

# Kind of fault -> the refusal that Google gives.
REFUSALS: Mapping[str, tuple[str, str]] = {
    "throttled": ("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute'."),
    "unavailable": ("UNAVAILABLE", "The service is currently unavailable."),
    "no_capacity": ("RESOURCE_EXHAUSTED", "There is no more capacity in the zone; you can try in another zone."),
    "quota": (
        "RESOURCE_EXHAUSTED",
        "Quota limit 'TPUV5sLitepodPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone.",
    ),
    "permission": ("PERMISSION_DENIED", "Permission denied on the resource or it may not exist."),
    "balance": ("PERMISSION_DENIED", "This API method requires billing to be enabled."),
    "refused": ("FAILED_PRECONDITION", "The resource cannot be deleted in its present state."),
}


class Refusal(Exception):
    """What the API answers instead: the canonical code's name and a message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def refusal(kind: str) -> Refusal:
    """The refusal for a kind of fault."""
    return Refusal(*REFUSALS[kind])


def generation_of(node: Mapping[str, Any], zone: str) -> tuple[str, int]:
    """Generation and chips of a node's accelerator type. Raises Refusal when they do not go together."""
    name, _, size = str(node.get("acceleratorType", "")).rpartition("-")
    chip = CHIPS.get(name)
    if chip is None or not size.isdigit() or int(size) not in chip.sizes:
        raise Refusal("INVALID_ARGUMENT", f"Invalid accelerator type {node.get('acceleratorType')!r}.")
    if zone not in chip.zones:
        raise Refusal("NOT_FOUND", f"Accelerator type {node['acceleratorType']} is not found in zone {zone}.")
    if node.get("runtimeVersion") not in chip.runtimes:
        raise Refusal("INVALID_ARGUMENT", f"Runtime version {node.get('runtimeVersion')!r} does not run there.")
    return name, int(size) // chip.cores
