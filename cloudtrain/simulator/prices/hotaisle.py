"""A fake of Hot Aisle's list of free machines: for a team's token, a bare list or null, in cents."""

from __future__ import annotations

from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.prices import PriceInterface, Refused, check, document

KEY, TEAM = "PLANTED-SECRET-HOTAISLE", "our-team"


def machine(count: int, cents: int, model: str = "MI300X") -> dict[str, Any]:
    """A free one."""
    return {
        "OnDemandPrice": cents,
        "MinReservationMinutes": 1,
        "Specs": {
            "cpu_cores": 13 * count,
            "cpus": {"count": count, "manufacturer": "Intel", "model": "Xeon Platinum 8470", "cores": 13},
            "disk_capacity": 13194139533312,
            "ram_capacity": 240518168576 * count,
            "gpus": [{"count": count, "manufacturer": "AMD", "model": model}],
        },
    }


class HotaislePrices(PriceInterface):
    """`free` is what is free now, or None; a test changes it."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.free: list[dict[str, Any]] | None = [machine(1, 221), machine(1, 215), machine(2, 430), machine(8, 1720)]

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_HOTAISLE_URL": self.url, "HOTAISLE_API_KEY": KEY, "HOTAISLE_TEAM_HANDLE": TEAM}

    def shown(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Token {KEY}":
            raise Refused(401, "the token is missing or wrong")
        if f"/teams/{TEAM}/" not in request.path:
            raise Refused(403, "another team's")
        check(request, f"/api/teams/{TEAM}/virtual_machines/available/", ())
        if instead := self.price_faults.instead(1, is_last=True):
            return instead
        free = self.free
        if free and self.price_faults.take("missing"):
            free = [each for each in free if each["Specs"]["gpus"][0]["count"] > 1]
        return document(
            free and [{**each, "OnDemandPrice": self.figure(each["OnDemandPrice"], 70_000)} for each in free]
        )
