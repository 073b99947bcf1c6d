"""The quotas of a fake project: what an insert is held against, and how the Cloud Quotas API tells of them.

From its published form: a `quotaInfo` has one entry for every place with a limit of its own, and one without dimensions
that holds everywhere else. `regions.get` of Compute Engine shows none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

COMPUTE, TPU = "compute.googleapis.com", "tpu.googleapis.com"
PATH = re.compile(r"/v1/projects/([^/]+)/locations/global/services/([^/]+)/quotaInfos(?:/([^/]+))?")
ROOMY = 1536  # as one project was seen to have it


class Name(NamedTuple):
    """A quota as Google calls it, what of it counts, and what its limits hold for besides: `region` or `zone`."""

    service: str
    id: str
    metric: str
    level: str
    fixed: Mapping[str, str] = {}


V6E_SPOT = Name(
    COMPUTE, "PREEMPTIBLE-TPU-V6E-per-project-region", "compute.googleapis.com/preemptible_tpu_v6e", "region"
)
V5P_SPOT = Name(
    COMPUTE, "PREEMPTIBLE-TPU-V5P-per-project-region", "compute.googleapis.com/preemptible_tpu_v5p", "region"
)
V5P = Name(COMPUTE, "TPU-V5P-per-project-region", "compute.googleapis.com/tpu_v5p", "region")
FAMILY = "TPUS-PER-TPU-FAMILY-per-project-region"
V6E = Name(COMPUTE, FAMILY, "compute.googleapis.com/tpus_per_tpu_family", "region", {"tpu_family": "CT6E"})
V5E = Name(TPU, "TPUV5sLitepodPerProjectPerZoneForTPUAPI", "tpu.googleapis.com/tpu-v5s-litepod", "zone")
V5E_SPOT = Name(
    TPU, "TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI", "tpu.googleapis.com/tpu-v5s-litepod-preemptible", "zone"
)
ALL = (V6E_SPOT, V5P_SPOT, V5P, V6E, V5E, V5E_SPOT)


def of_machine(kind: str, model: str) -> Name | None:
    """What a machine type uses up under a provisioning model; flex-start counts as preemptible."""
    standard = model == "STANDARD"
    if kind.startswith("ct6e-"):
        return V6E if standard else V6E_SPOT
    if kind.startswith("ct5p-"):
        return V5P if standard else V5P_SPOT
    return None


def of_slice(accelerator: str, spot: bool) -> Name | None:
    """The same of a slice of the Cloud TPU API."""
    return (V5E_SPOT if spot else V5E) if accelerator.startswith("v5litepod-") else None


@dataclass
class Quotas:
    """`limits` are chips by quota and place; "" is every place without a limit of its own. `gpus`: GPUS_ALL_REGIONS."""

    project: str
    limits: dict[tuple[str, str], int] = field(default_factory=dict)
    gpus: float = 1.0
    readable: bool = True  # whether the caller has cloudquotas.quotas.get

    def limit(self, name: Name, place: str) -> int:
        """The chips that the project may have there."""
        return self.limits.get((name.id, place), self.limits.get((name.id, ""), ROOMY))

    def document(self, path: str) -> dict[str, Any] | None:
        """The answer to a GET; None where there is no such thing."""
        found = PATH.fullmatch(path)
        if not found or found[1] != self.project:
            return None
        infos = [self._info(name) for name in ALL if name.service == found[2]]
        if not found[3]:
            return {"quotaInfos": infos}
        return next((info for info in infos if info["quotaId"] == found[3]), None)

    def _info(self, name: Name) -> dict[str, Any]:
        own = {place: value for (quota, place), value in self.limits.items() if quota == name.id and place}
        entries = [
            {
                "dimensions": {**name.fixed, name.level: place},
                "details": {"value": str(value)},
                "applicableLocations": [place],
            }
            for place, value in own.items()
        ]
        rest = {"details": {"value": str(self.limit(name, ""))}, "dimensions": dict(name.fixed)}
        return {
            "name": f"projects/{self.project}/locations/global/services/{name.service}/quotaInfos/{name.id}",
            "quotaId": name.id,
            "metric": name.metric,
            "service": name.service,
            "dimensions": [name.level, *name.fixed],
            "dimensionsInfos": [*entries, rest],
        }
