"""The tiny cloud itself, and a copy of the product that knows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Front, Reply, Request
from tests.product_copy import copy_of_the_product


class TinyCloud(Front):
    """Machines with unique names; four calls."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.machines: dict[str, dict[str, Any]] = {}
        self.fault_table = [("create", ("lost_reply", "dropped", "late")), ("delete", ("throttled", "lost_reply"))]

    def call_of(self, request: Request) -> str:
        return {"POST": "create", "DELETE": "delete", "GET": "get"}[request.method]

    def mutates(self, call: str) -> bool:
        return call != "get"

    def refuse(self, kind: str) -> Reply:
        return Reply(429 if kind == "throttled" else 503, b"{}")

    def perform(self, call: str, request: Request) -> Reply:
        id = request.path.rpartition("/")[2]
        if call == "create":
            return self.create(json.loads(request.body))
        if id == "machines":
            return Reply(200, json.dumps(list(self.machines.values())).encode())
        if id not in self.machines:
            return Reply(404, b"{}")
        if call == "delete":
            self.ledger.close(id)
            return Reply(200, json.dumps(self.machines.pop(id)).encode())
        return Reply(200, json.dumps(self.machines[id]).encode())

    def create(self, body: dict[str, Any]) -> Reply:
        for machine in self.machines.values():
            if machine["name"] == body["name"]:
                return Reply(200, json.dumps(machine).encode())
        id = f"m{len(self.ledger.entries)}"
        self.machines[id] = {**body, "id": id}
        self.ledger.open(id, "machine", 0.5)
        self.clock.at(body["expires"], lambda: self.end(id))
        return Reply(201, json.dumps(self.machines[id]).encode())

    def end(self, id: str) -> None:
        self.machines.pop(id, None)
        self.ledger.close(id)

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_TINY_URL": self.url}


def copy_with_tiny(folder: Path) -> Path:
    """A copy of the installed product with the two files of the tiny cloud in it; goes first on PYTHONPATH."""
    here, package = Path(__file__).parent / "tiny", copy_of_the_product(folder)
    shutil.copy(here / "stacks_tiny.py", package / "stacks" / "tiny.py")
    shutil.copy(here / "pricing_tiny.py", package / "pricing" / "tiny.py")
    return folder
