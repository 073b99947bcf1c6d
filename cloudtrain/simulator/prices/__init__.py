"""Fakes of interfaces that are asked for prices alone: nothing can be made there, and a test says what they sell."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.price_faults import PriceFaults

PAGE = 2


class Refused(Exception):
    """A status and what is said with it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class PriceInterface(Front):
    """What such a fake adds is `shown`; it takes from `price_faults` what it can spoil itself."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.price_faults = PriceFaults()

    def shown(self, request: Request) -> Reply:
        """The answer to a request. Raises Refused."""
        raise NotImplementedError

    def call_of(self, request: Request) -> str:
        return f"{request.method} {request.path}"

    def mutates(self, call: str) -> bool:
        return False

    def refuse(self, kind: str) -> Reply:
        return Reply(429, b"{}", {"Retry-After": "1"}) if kind == "throttled" else Reply(503, b"{}")

    def perform(self, call: str, request: Request) -> Reply:
        try:
            reply = self.shown(request)
        except Refused as refused:
            return document({"error": refused.words, "status": refused.status}, refused.status)
        return self.price_faults.sent(reply)

    def figure(self, usd: float | int, filler: float | int = 700) -> Any:
        """A price as it is shown."""
        if self.price_faults.take("zero"):
            return 0
        if self.price_faults.take("filler"):
            return filler
        return str(usd) if self.price_faults.take("other_number") else usd


def document(content: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def check(request: Request, path: str, queries: Collection[str]) -> None:
    """Raises Refused for another path or method, and for a query that the interface does not have."""
    if (request.method, request.path) != ("GET", path):
        raise Refused(404, "there is no such path")
    if unknown := set(request.query) - set(queries):
        raise Refused(400, f"unknown: {', '.join(sorted(unknown))}")
    if any(len(values) != 1 for values in request.query.values()):
        raise Refused(400, "a query is given twice")


def position(text: str) -> int:
    """Where a page begins. Raises Refused."""
    if not text.isdecimal():
        raise Refused(400, "the page is none of ours")
    return int(text)
