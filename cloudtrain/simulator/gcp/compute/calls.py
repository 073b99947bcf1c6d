"""The calls of the fake Compute Engine, and what may go wrong at each."""

from __future__ import annotations

from cloudtrain.simulator.faults import FaultTable

KINDS = ("instances", "disks", "instanceGroupManagers", "instanceTemplates", "resourcePolicies")
LISTS = [f"{kind}.aggregatedList" for kind in KINDS] + ["globalOperations.aggregatedList", "zoneOperations.list"]
GETS = ["instances.get", "disks.get", "instanceGroupManagers.get", "regionInstanceTemplates.get"]
GETS += ["resourcePolicies.get", "instanceGroupManagers.listErrors"]
MACHINES = ("instances.insert", "instanceGroupManagers.insert")
OTHER_INSERTS = ("regionInstanceTemplates.insert", "resourcePolicies.insert")
DELETES = (
    *("instances.delete", "disks.delete", "instanceGroupManagers.delete"),
    *("regionInstanceTemplates.delete", "resourcePolicies.delete"),
)
FAULT_TABLE: FaultTable = [
    *[
        (
            call,
            (
                *("lost_reply", "dropped", "late", "throttled", "unavailable"),
                *("no_capacity", "no_capacity_later", "quota", "permission", "balance", "stale", "slow"),
            ),
        )
        for call in MACHINES
    ],
    *[
        (call, ("lost_reply", "dropped", "late", "throttled", "unavailable", "permission", "quota", "stale"))
        for call in OTHER_INSERTS
    ],
    *[(call, ("lost_reply", "dropped", "late", "throttled", "unavailable", "refused")) for call in DELETES],
    *[(call, ("lost_reply", "dropped", "throttled", "unavailable")) for call in (*LISTS, *GETS)],
]
