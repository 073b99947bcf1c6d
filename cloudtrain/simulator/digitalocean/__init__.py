"""A fake DigitalOcean: API v2 on loopback, as strict as the real one, with its habits that cost money.

Names are not unique, lists come two at a time by number and leave droplets with a GPU out unless these are asked for,
a droplet that is off costs on, a new one may be unknown for a while, and a full size looks like a wrong region.
"""

from __future__ import annotations

import re

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.digitalocean.account import DigitaloceanAccount
from cloudtrain.simulator.digitalocean.answers import ANSWERS, problem
from cloudtrain.simulator.digitalocean.validation import Problem
from cloudtrain.simulator.faults import FaultTable, Kind
from cloudtrain.simulator.http_server import Reply, Request

TOKEN = "dop_v1_PLANTED-SECRET-DIGITALOCEAN"  # noqa: S105  # planted, to be found where it must not be
READS: FaultTable = [
    (call, ("dropped", "throttled", "unavailable")) for call in ("listDroplets", "getDroplet", "getAccount")
]
SENT: tuple[Kind, ...] = ("lost_reply", "dropped", "late", "throttled", "unavailable")
PLACED: tuple[Kind, ...] = ("no_capacity", "no_capacity_later", "permission", "quota", "stale", "slow")
FAULT_TABLE: FaultTable = [("createDroplet", (*SENT, *PLACED)), ("deleteDroplet", (*SENT, "refused")), *READS]
REFUSALS = {"permission": (403, ""), "refused": (422, "Droplet already has a pending event.")}
CALLS = {
    ("GET", ""): "listDroplets",
    ("POST", ""): "createDroplet",
    ("GET", "/id"): "getDroplet",
    ("DELETE", "/id"): "deleteDroplet",
    ("POST", "/id/actions"): "actOnDroplet",
}


class DigitaloceanCloud(DigitaloceanAccount):
    """The account. `sizes` is what it can order, `droplets` what it has; `token_ends` is when its token does."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.fault_table = FAULT_TABLE

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_DIGITALOCEAN_URL": self.url, "DIGITALOCEAN_TOKEN": TOKEN}

    def preempt(self, id: str, notice_s: float = 7200.0) -> None:  # noqa: A002
        """It takes a spot droplet back: a person is told by e-mail, the machine is not; then it is deleted."""
        with self.clock.lock:
            droplet = self.droplets.all[int(id)]
            self.clock.at(self.clock.now() + notice_s, lambda: self.droplets.end(droplet))
            self.clock.run_due()

    def power_off(self, id: str) -> None:  # noqa: A002
        self.droplets.switch_off(self.droplets.all[int(id)])

    def crash(self, id: str) -> None:  # noqa: A002
        self.power_off(id)  # as far as the API shows it

    def restart(self, id: str) -> None:  # noqa: A002
        self.room.running[id].boot_again(with_script=False)

    def call_of(self, request: Request) -> str:
        """The `operationId`, more or less."""
        found = re.fullmatch(r"/v2/droplets(?:(/)\d+(/actions)?)?", request.path)
        if found:
            rest = f"/id{found[2] or ''}" if found[1] else ""
            return CALLS.get((request.method, rest), "unknown")
        others = {("GET", "/v2/sizes"): "listSizes", ("GET", "/v2/account"): "getAccount"}
        return others.get((request.method, request.path), "unknown")

    def mutates(self, call: str) -> bool:
        return call.startswith(("create", "delete", "act"))

    def refuse(self, kind: str) -> Reply:
        if kind == "throttled":
            return problem(Problem(429), {"Retry-After": "1"})
        return problem(Problem(503))

    def perform(self, call: str, request: Request) -> Reply:
        try:
            self._authenticate(request)
            answer = ANSWERS.get(call)
            if answer is None:
                raise Problem(404)
            for kind, refusal in REFUSALS.items():
                if self.faults.take(call, kind):
                    raise Problem(*refusal)
            number = re.match(r"/v2/droplets/(\d+)", request.path)
            return answer(self, request, int(number[1]) if number else 0)
        except Problem as refused:
            return problem(refused)

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        over = self.token_ends is not None and self.clock.now() >= self.token_ends
        if scheme != "Bearer" or token != TOKEN or over:
            raise Problem(401)


def roomy() -> DigitaloceanCloud:
    """An account with room: nothing is in the way."""
    return DigitaloceanCloud()
