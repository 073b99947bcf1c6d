"""What an account of the fake DigitalOcean holds: its droplets, the sizes that it sees, its limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean.droplets import Droplet, Droplets
from cloudtrain.simulator.digitalocean.validation import Problem, data
from cloudtrain.simulator.faults import Faults
from cloudtrain.simulator.http_server import Front
from cloudtrain.simulator.ledger import Ledger
from cloudtrain.simulator.price_faults import PriceFaults

NOT_HERE = "Size is not available in this region."
TOO_MANY = "creating this/these droplet(s) will exceed your droplet limit"


class DigitaloceanAccount(Front):
    """Every call of the fake reads and changes this one record."""

    def __init__(self, clock: Clock | None) -> None:
        super().__init__(clock)
        self.reset(self.clock)

    def reset(self, clock: Clock | None = None) -> None:
        """A new account at the same address, with a clock and a ledger of its own: nothing of the old one can happen.

        `sizes` are those of `GET /v2/sizes`, by slug: a test may change price, regions and `available` of each.
        """
        self.room.close()
        self.clock = clock or Clock(self.clock.now() if self.clock.virtual else None)
        self.ledger = Ledger(self.clock)
        self.faults = Faults()
        self.price_faults = PriceFaults()
        self.calls.clear()
        self.team, self.status, self.droplet_limit = "5df3e300-0000-4000-8000-00a0c91e6bf6", "active", 10
        self.gpus_by_tag = False  # whether the list by tag has droplets with a GPU: nobody has said so
        self.token_ends: float | None = None  # when the account's token is no longer accepted
        self.sizes: dict[str, dict[str, Any]] = {row["slug"]: size(row) for row in data()["sizes"]}
        self.droplets = Droplets(self.clock, self.ledger)
        self.droplets.powered_on, self.droplets.powered_off = self._power_on, self._power_off

    def place(self, body: Mapping[str, Any]) -> Droplet:
        """Make a droplet as asked, unless there is none or the account may have no more. Raises Problem 422."""
        take = self.faults.take
        if take("createDroplet", "no_capacity"):
            raise Problem(422, NOT_HERE)
        if len(self.droplets.all) >= self.droplet_limit or take("createDroplet", "quota"):
            raise Problem(422, TOO_MANY)
        slow, stale = take("createDroplet", "slow"), take("createDroplet", "stale")
        later = take("createDroplet", "no_capacity_later")
        slow_s = max(slow.seconds if slow else 0.0, later.seconds + 1.0 if later else 0.0)
        droplet = self.droplets.create(body, self.sizes[body["size"]], slow_s, stale.seconds if stale else 0.0)
        if later:  # accepted, and it never comes
            self.clock.at(self.clock.now() + later.seconds, lambda: self.droplets.end(droplet))
        return droplet

    def _power_on(self, droplet: Droplet) -> bool:
        script = str(droplet.body.get("user_data", ""))
        sandbox = self.run_machine(str(droplet.id), {})
        if sandbox and script.startswith("#!"):
            sandbox.boot(script.encode())
        return bool(sandbox and script.startswith("#!"))

    def _power_off(self, droplet: Droplet) -> None:
        self.room.cut(str(droplet.id))


def size(row: Mapping[str, Any]) -> dict[str, Any]:
    """A size as the API shows it."""
    disk = {"type": "local", "size": {"amount": row["disk"], "unit": "gib"}}
    found = {
        **{key: row[key] for key in ("slug", "memory", "vcpus", "disk")},
        "transfer": 15.0,
        "price_monthly": round(row["price_hourly"] * 744, 2),
        "price_hourly": row["price_hourly"],
        "regions": list(row["regions"]),
        "available": True,
        "description": "GPU Droplet" if "gpu" in row else "Basic",
        "disk_info": [disk],
    }
    if "gpu" in row:
        model, count, gib = row["gpu"]
        found["gpu_info"] = {"count": count, "vram": {"amount": count * gib, "unit": "gib"}, "model": model}
    return found
