"""What an account of the fake RunPod holds: pods, clusters, plain collections, credit; and how a pod is placed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.faults import Faults
from cloudtrain.simulator.http_server import Front
from cloudtrain.simulator.ledger import Ledger
from cloudtrain.simulator.runpod.catalog import Catalog
from cloudtrain.simulator.runpod.pods import Pod, Pods
from cloudtrain.simulator.runpod.validation import Problem, check_pod

SHELVES = {"NetworkVolume": "networkVolumes", "Template": "templates", "Registry": "registries"}


class RunpodAccount(Front):
    """Every call of the fake reads and changes this one record."""

    def __init__(self, clock: Clock | None, balance: float | None) -> None:
        super().__init__(clock)
        self.balance = balance
        self.reset(self.clock)

    def reset(self, clock: Clock | None = None) -> None:
        """A new account at the same address, with a clock and a ledger of its own: nothing of the old one can happen.

        `stock`: whether there is anything to be had; `catalog`: what is asked for it, and what goes wrong with that.
        """
        self.room.close()
        self.clock = clock or Clock(self.clock.now() if self.clock.virtual else None)
        self.ledger = Ledger(self.clock)
        self.faults = Faults()
        self.calls.clear()
        self.stock = True
        self.catalog = Catalog()
        self.pods = Pods(self.clock, self.ledger, self.catalog)
        self.pods.powered_on, self.pods.powered_off = self._power_on, lambda pod: self.room.cut(pod.id)
        self.shelves: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in SHELVES}
        self._exhaustion = 0

    def pod_environment(self, id: str) -> dict[str, str]:  # noqa: A002
        """What a process in the pod sees: what the create call said, and what RunPod adds itself."""
        pod = self.pods.get(id)
        hardware = pod.document(self.clock.now())
        return {
            **pod.body.get("env", {}),
            "RUNPOD_POD_ID": id,
            "RUNPOD_API_KEY": pod.key,
            "RUNPOD_POD_HOSTNAME": f"{id}-simulation",
            "RUNPOD_DC_ID": hardware["dataCenterId"],
            "RUNPOD_GPU_COUNT": str(hardware.get("gpu", {}).get("count", 0)),
            "RUNPOD_CPU_COUNT": str(hardware.get("cpu", {}).get("vcpuCount", 8)),
        }

    def _power_on(self, pod: Pod) -> bool:
        sandbox = self.run_machine(pod.id, self.pod_environment(pod.id))
        arguments = shlex.split(pod.body.get("args", ""))
        if sandbox and arguments:
            sandbox.run(arguments)
        return bool(sandbox and arguments)

    def place_pod(self, body: Mapping[str, Any]) -> Pod:
        """Make a pod as asked, unless it breaks a rule, nobody has one, or the credit does not last for an hour."""
        check_pod(body)
        if not self.stock:
            raise Problem(400, "there are no instances currently available")
        slow = self.faults.take("createPod", "slow")
        stale = self.faults.take("createPod", "stale")
        later = self.faults.take("createPod", "no_capacity_later")
        pod = self.pods.create(body, slow.seconds if slow else 0.0, stale.seconds if stale else 0.0)
        if self.balance is not None and self.balance - self.ledger.usd() < pod.compute_usd_per_hour():
            self.pods.terminate(pod.id)
            raise Problem(402, "the balance does not last for an hour of this pod")
        if later:
            self.clock.at(self.clock.now() + later.seconds, lambda: self.pods.end_container(pod.id, "ERROR"))
        self._watch_balance()
        return pod

    def _watch_balance(self) -> None:
        """At no credit everything without a network volume is terminated; with one it would be stopped."""
        rate = sum(entry.usd_per_hour for entry in self.ledger.entries if entry.end is None)
        if self.balance is None or not rate:
            return
        self._exhaustion += 1
        number, left_s = self._exhaustion, (self.balance - self.ledger.usd()) / rate * 3600

        def exhausted() -> None:
            if number == self._exhaustion:
                for pod in list(self.pods.pods.values()):
                    self.pods.terminate(pod.id, by_cluster=True)

        self.clock.at(self.clock.now() + left_s, exhausted)
