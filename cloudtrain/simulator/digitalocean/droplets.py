"""The droplets of a fake DigitalOcean: how they begin, are switched off, cost on, and end."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean.validation import Problem
from cloudtrain.simulator.ledger import Ledger


@dataclass
class Droplet:
    """One droplet. `off`: switched off, by whomever; it costs what it costs on. `going`: its deletion was taken."""

    id: int
    body: Mapping[str, Any]
    size: Mapping[str, Any]
    created: float
    ready_at: float
    listed_at: float
    off: bool = False
    going: bool = False
    runs: bool = False  # it is real processes

    def status(self, now: float) -> str:
        """The word of the API."""
        return "new" if now < self.ready_at else "off" if self.off else "active"

    def document(self, now: float) -> dict[str, Any]:
        """The droplet as the API shows it."""
        status = self.status(now)
        address = {"ip_address": "127.0.0.1", "netmask": "255.255.240.0", "gateway": "127.0.0.1", "type": "public"}
        shown = {
            key: self.size[key] for key in ("memory", "vcpus", "disk", "gpu_info", "disk_info") if key in self.size
        }
        return {
            "id": self.id,
            "name": self.body["name"],
            **shown,
            "locked": self.going or status == "new",
            "status": status,
            "kernel": None,
            "created_at": datetime.fromtimestamp(self.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "features": [],
            "backup_ids": [],
            "next_backup_window": None,
            "snapshot_ids": [],
            "image": {"id": 189723042, "slug": self.body["image"], "status": "available"},
            "volume_ids": [],
            "size": dict(self.size),
            "size_slug": self.body["size"],
            "networks": {"v4": [] if status == "new" else [address], "v6": []},
            "region": {"slug": self.body["region"], "available": True},
            "tags": list(self.body.get("tags", [])),
        }


def guest_deadline(user_data: str) -> float | None:
    """When a guest that runs this script switches itself off; None when the script sets no timer."""
    at = re.search(r"^deadline=(\d+)$", user_data, re.MULTILINE)
    return float(at[1]) if at and user_data.startswith("#!") and re.search(r"^ +poweroff$", user_data, re.M) else None


@dataclass
class Droplets:
    """All droplets of the account, and what they cost.

    `ready_s` is how long one is `new`, `delete_s` how long its deletion takes; it costs until then. `guests`: a droplet
    whose script has a timer is off from then on.
    """

    clock: Clock
    ledger: Ledger
    ready_s: float = 0.0
    delete_s: float = 0.1
    guests: bool = True
    all: dict[int, Droplet] = field(default_factory=dict)
    powered_on: Callable[[Droplet], bool] = lambda droplet: False  # start it; whether it really runs
    powered_off: Callable[[Droplet], None] = lambda droplet: None  # nothing runs in it any more
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(500000001))

    def create(self, body: Mapping[str, Any], size: Mapping[str, Any], slow_s: float, stale_s: float) -> Droplet:
        """A new droplet, whatever others are called. It needs `slow_s` longer, and nobody sees it for `stale_s`."""
        now = self.clock.now()
        droplet = Droplet(next(self.numbers), body, size, now, now + self.ready_s + slow_s, now + stale_s)
        self.all[droplet.id] = droplet
        tags = dict.fromkeys(body.get("tags", []), "")
        self.ledger.open(str(droplet.id), f"droplet {body['name']}", float(size["price_hourly"]), tags)
        self.clock.at(droplet.ready_at, lambda: self._start(droplet))
        deadline = guest_deadline(body.get("user_data", ""))
        if deadline is not None and self.guests:
            self.clock.at(max(deadline, droplet.ready_at), lambda: self._guest(droplet))
        return droplet

    def get(self, id: int) -> Droplet:  # noqa: A002
        """Raises Problem 404, also for one that is not known everywhere yet."""
        droplet = self.all.get(id)
        if droplet is None or self.clock.now() < droplet.listed_at:
            raise Problem(404)
        return droplet

    def delete(self, id: int) -> None:  # noqa: A002
        """Its end begins. Raises Problem 404, and 422 while another event is pending."""
        droplet = self.get(id)
        if droplet.going:
            raise Problem(422, "Droplet already has a pending event.")
        droplet.going = True
        self.clock.at(self.clock.now() + self.delete_s, lambda: self.end(droplet))

    def end(self, droplet: Droplet) -> None:
        """It is gone for good, and costs nothing from now on."""
        if self.all.get(droplet.id) is droplet:
            self.powered_off(droplet)
            del self.all[droplet.id]
            self.ledger.close(str(droplet.id))

    def switch_off(self, droplet: Droplet) -> None:
        """It is off, and costs on."""
        if self.all.get(droplet.id) is droplet and not droplet.off:
            self.powered_off(droplet)
            droplet.off, droplet.runs = True, False

    def _start(self, droplet: Droplet) -> None:
        if self.all.get(droplet.id) is droplet and not droplet.off and self.clock.now() >= droplet.ready_at:
            droplet.runs = self.powered_on(droplet)

    def _guest(self, droplet: Droplet) -> None:
        if droplet.runs and not self.clock.moved:
            return  # the timer in it is there, and has the same time
        self.switch_off(droplet)
