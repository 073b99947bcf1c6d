"""A fake of Vultr's list of bare metal plans: without a key, two plans a page, a place without a name among theirs."""

from __future__ import annotations

import base64
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.prices import PAGE, PriceInterface, Refused, check, document, position

MI300X, MI325X, MI355X = (
    f"vbm-256c-{ram}gb-8-{chip}-gpu" for ram, chip in ((2048, "mi300x"), (3072, "mi325x"), (3072, "mi355x"))
)


def plan(name: str, usd: float, preemptible: float, places: list[str]) -> dict[str, Any]:
    """A plan that is sold under both markets."""
    return {
        "id": name,
        "cpu_threads": 256,
        "ram": 2321924,
        "type": "NVMe",
        "hourly_cost": usd,
        "hourly_cost_preemptible": preemptible,
        "locations": places,
        "deploy_ondemand": True,
        "deploy_preemptible": True,
    }


class VultrPrices(PriceInterface):
    """`plans` by id; a test changes them."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        found = (
            plan("vbm-4c-32gb", 0.16, 0.08, ["ewr"]),
            plan(MI300X, 16.0, 12.8, ["ord", ""]),
            plan("vbm-112c-2048gb-8-h100-gpu", 23.9, 18.4, ["ewr"]),
            plan(MI325X, 20.8, 16.8, ["ord", "ams"]),
            plan(MI355X, 27.2, 21.6, ["ord"]),
        )
        self.plans = {each["id"]: each for each in found}

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_VULTR_URL": self.url}

    def shown(self, request: Request) -> Reply:
        check(request, "/v2/plans-metal", ("per_page", "cursor", "type"))
        if not 1 <= position(request.query.get("per_page", ["100"])[0]) <= 500:
            raise Refused(400, "per_page is at most 500")
        plans = list(self.plans.values())
        if self.price_faults.take("missing"):
            plans = [each for each in plans if each["id"] != MI300X]
        start = 0
        if cursor := request.query.get("cursor", [""])[0]:
            if self.price_faults.take("expired_token"):
                raise Refused(400, "the cursor is not valid any more")
            start = position(base64.b64decode(cursor).decode())
        if instead := self.price_faults.instead(start // PAGE + 1, start + PAGE >= len(plans)):
            return instead
        here, following = self.price_faults.page(plans, PAGE, start)
        links = {"next": "" if following is None else base64.b64encode(str(following).encode()).decode(), "prev": ""}
        shown = [self._shown(each) for each in here]
        return document({"plans_metal": shown, "meta": {"total": len(plans), "links": links}})

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["id"] != MI300X:
            return one
        usd = {name: one[name] for name in ("hourly_cost", "hourly_cost_preemptible") if name in one}
        if self.price_faults.take("spot_above_list"):
            usd["hourly_cost_preemptible"] = usd["hourly_cost"] * 2
        return {**one, **{name: self.figure(each) for name, each in usd.items()}}
