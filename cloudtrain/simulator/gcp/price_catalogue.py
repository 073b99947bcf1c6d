"""A fake of Google's Cloud Billing catalogue: SKUs of the test's prices among many that are none of its business."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.gcp.price_skus import SERVICES, Sku, written
from cloudtrain.simulator.http_server import Front, Reply, Request
from cloudtrain.simulator.price_faults import PriceFaults

KEY, TOKEN = "AIzaPLANTED-SECRET-BILLING", "ya29.PLANTED-SECRET-BILLING"
QUERY = ("currencyCode", "pageSize", "pageToken")
MOST = 5000
DAY = 86400.0
JSON = {"Content-Type": "application/json; charset=UTF-8"}
UNKNOWN_CALLER = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
    "form of API consumer identity to call this API."
)
BAD_KEY = "API key not valid. Please pass a valid API key."
BAD_TOKEN = "Request had invalid authentication credentials."  # noqa: S105  # what Google says of one


class BillingCatalogue(Front):
    """`skus` is what the catalogue holds; `page_size` is the most that it gives at once, whatever is asked for.

    A page token is good for `page_seconds` of the fake's clock, an access token for `token_pages` answers (None: all).
    `faults` of the transport come by call, those of prices by `price_faults`.
    """

    def __init__(self, skus: Sequence[Sku] = (), clock: Clock | None = None, page_size: int = 2) -> None:
        super().__init__(clock)
        self.skus, self.page_size, self.page_seconds = list(skus), page_size, 300.0
        self.keys, self.tokens = {KEY}, {TOKEN}
        self.token_pages: int | None = None
        self.price_faults = PriceFaults()
        self._pages: dict[str, tuple[str, int, float]] = {}  # page token -> service, where it starts, when it ends
        self._held: dict[str, list[Mapping[str, Any]]] = {}  # service -> its list while it is read

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_GCP_BILLING_URL": self.url, "GOOGLE_API_KEY": KEY}

    def reset(self, clock: Clock | None = None) -> None:
        """No faults, no calls, no page tokens; the SKUs stay."""
        self.clock = self.ledger.clock = clock or self.clock
        self.faults.clear()
        self.price_faults = PriceFaults()
        self.calls.clear()
        self._pages.clear()

    def call_of(self, request: Request) -> str:
        """Google's method name."""
        found = re.fullmatch(r"/v1/services/[^/]+/skus", request.path)
        return "services.skus.list" if found and request.method == "GET" else "unknown"

    def mutates(self, call: str) -> bool:
        return False

    def refuse(self, kind: str) -> Reply:
        if kind == "throttled":
            return refusal(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Requests'.")
        return refusal(503, "UNAVAILABLE", "The service is currently unavailable.")

    def perform(self, call: str, request: Request) -> Reply:
        if call == "unknown":
            return refusal(404, "NOT_FOUND", f"The requested URL {request.path} was not found on this server.")
        if (refused := self._stranger(request) or self._wrong(request)) is not None:
            return refused
        service = request.path.split("/")[3]
        if service not in SERVICES:
            return refusal(404, "NOT_FOUND", "Requested entity was not found.")
        token = request.query.get("pageToken", [""])[0]
        start = 0
        if token:
            of_service, start, ends = self._pages.get(token, ("", 0, 0.0))
            if of_service != service or ends <= self.clock.now() or self.price_faults.take("expired_token"):
                return refusal(400, "INVALID_ARGUMENT", "Request contains an invalid argument: page token.")
        return self._page(service, start, min(self.page_size, int(request.query.get("pageSize", [MOST])[0])))

    def _page(self, service: str, start: int, size: int) -> Reply:
        if not start:  # a list is what it was when it began, or pages would shift beneath a reader
            skus = (sku for sku in self.skus if sku.service == service)
            self._held[service] = [spoiled for sku in skus for spoiled in self._spoiled(sku)]
        held = self._held[service]
        number, is_last = start // size + 1, start + size >= len(held)
        if (instead := self.price_faults.instead(number, is_last)) is not None:
            return instead
        entries, following = self.price_faults.page(held, size, start)
        page: dict[str, Any] = {"skus": [dict(each) for each in entries], "nextPageToken": ""}
        if not entries:
            del page["skus"]  # as Google leaves out what is empty
        if following is not None:
            again = "" if entries else f"again{len(self._pages)}"  # after an empty page, the same place by another name
            page["nextPageToken"] = token = f"{service[:4]}page{following}{again}"
            self._pages[token] = (service, following, self.clock.now() + self.page_seconds)
        return self.price_faults.sent(Reply(200, json.dumps(page).encode(), JSON))

    def _spoiled(self, sku: Sku) -> Iterator[Mapping[str, Any]]:
        """The SKU as the faults of figures leave it."""
        if sku.is_noise:
            yield written(sku)
            return
        take = self.price_faults.take
        if take("missing"):
            return
        for name, usd in (("zero", Decimal(0)), ("filler", Decimal(700)), ("per_pod", sku.usd * 256)):
            if (name != "per_pod" or sku.group == "TPU") and take(name):  # type: ignore[arg-type]
                sku = sku._replace(usd=usd)
        if "preemptible" in sku.description.lower() and take("spot_above_list"):
            sku = sku._replace(usd=sku.usd * 8)
        if take("other_currency"):
            sku = sku._replace(currency="EUR")
        if take("clock_skew"):
            sku = sku._replace(begins=max(self.clock.now(), time.time()) + DAY)
        entry = written(sku)
        if take("other_number"):
            price = entry["pricingInfo"][0]["pricingExpression"]["tieredRates"][-1]["unitPrice"]
            price["units"], price["nanos"] = int(price["units"]), str(price["nanos"])
        yield entry

    def _stranger(self, request: Request) -> Reply | None:
        if "key" in request.query or "access_token" in request.query:
            return refusal(400, "INVALID_ARGUMENT", "a secret was sent in the address, where logs keep it")
        key, bearer = request.headers.get("x-goog-api-key"), request.headers.get("authorization", "")
        if key is not None:
            return None if key in self.keys else refusal(400, "INVALID_ARGUMENT", BAD_KEY, "API_KEY_INVALID")
        if not bearer:
            return refusal(403, "PERMISSION_DENIED", UNKNOWN_CALLER)
        is_good = bearer.removeprefix("Bearer ") in self.tokens and self.token_pages != 0
        if self.token_pages:
            self.token_pages -= 1
        return None if is_good else refusal(401, "UNAUTHENTICATED", BAD_TOKEN)

    def _wrong(self, request: Request) -> Reply | None:
        """Google's answer to a query that it does not know, or knows and cannot take."""
        for name, values in request.query.items():
            if name not in QUERY or len(values) != 1:
                said = f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                return refusal(400, "INVALID_ARGUMENT", said)
        size = request.query.get("pageSize", ["0"])[0]
        if not size.isdecimal() or int(size) > MOST:
            return refusal(400, "INVALID_ARGUMENT", "Request contains an invalid argument: page size.")
        if request.query.get("currencyCode", ["USD"]) != ["USD"]:
            return refusal(400, "INVALID_ARGUMENT", "this fake has prices in US dollars alone")
        return None


def refusal(status: int, word: str, message: str, reason: str = "") -> Reply:
    """An error in Google's form."""
    error: dict[str, Any] = {"code": status, "message": message, "status": word}
    if reason:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
        error["details"] = [info]
    return Reply(status, json.dumps({"error": error}).encode(), JSON)
