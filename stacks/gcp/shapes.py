"""From a quote line to what Compute Engine is asked for: machine type, hosts, topology, image, zone. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cloudtrain.offer import OfferKey

TPU_IMAGE = "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"
CPU_IMAGE = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"
ARM_IMAGE = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-arm64"
HYPERDISK_ONLY = ("c4-", "c4d-", "m4-", "n4a-", "n4d-")

# Chips of a slice -> machine type and how the chips lie; one host has four chips, and v6e also comes with one. From
# Google's TPU pages for v6e and v5p. The name `v6e-8` counts chips, `v5p-8` counts cores, two to a chip.
_V6E = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_V5P = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8", 256: "4x8x8"}
_CPU_TYPE = re.compile(r"(c3|c3d|c4|c4d|m1|m3|m4|n4a|n4d)-[a-z]+-\d+")

# Letters of the zones where a price row names none (a CPU's price holds in the whole region). Most have a, b, c.
_LETTERS = {"us-east1": "bcd", "europe-west1": "bcd", "us-central1": "abcf"}


# Where Compute Engine rents TPUs by flex-start: not preempted, cheaper than on demand, against the quota of preemptible
# chips, which projects have without asking. cloud.google.com/tpu/docs/request-using-flex-start for v6e, Google's TPU
# builders' guide (2026-07) for v5p.
FLEX_ZONES = {"v6e": {"asia-northeast1-b", "us-east5-a"}, "v5p": {"us-east5-a"}}


class Shape(NamedTuple):
    """What is rented. `topology` is empty on one host, where no workload policy is needed."""

    machine_type: str
    hosts: int
    topology: str
    image: str
    disk_type: str


def shape(key: OfferKey) -> Shape | None:
    """The shape of an offer, or None when Compute Engine does not rent it (v5e and older TPUs among them)."""
    name, count = key.offer, key.count
    if name.startswith("v6e-"):
        return _tpu("ct6e-standard-1t" if count == 1 else "ct6e-standard-4t", _V6E, count, name == f"v6e-{count}")
    if name.startswith("v5p-"):
        return _tpu("ct5p-hightpu-4t", _V5P, count, name == f"v5p-{2 * count}")
    if _CPU_TYPE.fullmatch(name) and key.hardware.startswith("cpu"):
        disk_type = "hyperdisk-balanced" if name.startswith(HYPERDISK_ONLY) else "pd-balanced"
        return Shape(name, 1, "", ARM_IMAGE if name.startswith("n4a-") else CPU_IMAGE, disk_type)
    return None


def zone(key: OfferKey, attempt: int) -> str:
    """The zone of an attempt: every attempt takes the next of those in which the offer's price holds."""
    zones = key.zone.split() or [f"{key.region}-{letter}" for letter in _LETTERS.get(key.region, "abc")]
    return zones[(attempt - 1) % len(zones)]


def provisioning(key: OfferKey, where: str) -> str:
    """The provisioning model under which it is rented in a zone."""
    if key.market == "spot":
        return "SPOT"
    return "FLEX_START" if where in FLEX_ZONES.get(key.offer.partition("-")[0], ()) else "STANDARD"


def _tpu(machine_type: str, topologies: Mapping[int, str], count: int, named_so: bool) -> Shape | None:
    if count not in topologies or not named_so:
        return None
    hosts = max(1, count // 4)
    # The disk's type stays open: v6e and v5p are documented as Hyperdisk-only, and one report saw v5p refuse it.
    return Shape(machine_type, hosts, topologies[count] if hosts > 1 else "", TPU_IMAGE, "")
