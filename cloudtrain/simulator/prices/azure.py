"""A fake of Azure's retail prices: without a key, two meters a page, with all those that are not the wanted one."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from cloudtrain.simulator.clock import Clock
from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.prices import PAGE, PriceInterface, Refused, check, document, position

SIZE = "Standard_ND96isr_MI300X_v5"
_TERM = re.compile(r"(serviceName|armSkuName|armRegionName|priceType|meterName) eq '([^']*)'")
_FIELDS = {"priceType": "type"}


def meter(
    usd: float, region: str, words: str = "", since: str = "2026-10-01T00:00:00Z", **changes: Any
) -> dict[str, Any]:
    """One of the size in a region; `words` stand after its name: ` Spot`, ` Low Priority`."""
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": usd,
        "unitPrice": usd,
        "armRegionName": region,
        "effectiveStartDate": since,
        "meterName": f"ND96isr MI300X v5{words}",
        "productName": "Virtual Machines NDsr MI300X v5 Series",
        "skuName": f"ND96isr MI300X v5{words}",
        "serviceName": "Virtual Machines",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "armSkuName": SIZE,
        **changes,
    }


class AzurePrices(PriceInterface):
    """`meters`, which a test changes."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        windows = {"productName": "Virtual Machines NDsr MI300X v5 Series Windows"}
        self.meters = [
            meter(48.0, "westus"),
            meter(96.0, "westus", **windows),
            meter(12.0, "westus", " Low Priority"),
            meter(14.4, "westus", " Spot"),
            meter(9.6, "westus", " Spot", **windows),
            meter(240_000.0, "westus", type="Reservation", reservationTerm="1 Year"),
            meter(36.0, "westus", type="DevTestConsumption"),
            meter(55.0, "francecentral"),
        ]

    def environment(self) -> dict[str, str]:
        return {"CLOUDTRAIN_AZURE_PRICES_URL": self.url}

    def shown(self, request: Request) -> Reply:
        check(request, "/api/retail/prices", ("$filter", "$skip", "currencyCode", "api-version"))
        wanted = self._wanted(request.query.get("$filter", [""])[0])
        found = [
            each
            for each in self.meters
            if all(each[_FIELDS.get(name, name)] == value for name, value in wanted.items())
        ]
        if self.price_faults.take("missing"):
            found = found[1:]
        start = position(request.query.get("$skip", ["0"])[0])
        if start and self.price_faults.take("expired_token"):
            raise Refused(400, "the page is not valid any more")
        if instead := self.price_faults.instead(start // PAGE + 1, start + PAGE >= len(found)):
            return instead
        here, following = self.price_faults.page(found, PAGE, start)
        query = quote(request.query.get("$filter", [""])[0])
        link = None if following is None else f"{self.url}/api/retail/prices?$filter={query}&$skip={following}"
        items = [self._shown(each) for each in here]
        return document({"BillingCurrency": "USD", "Items": items, "NextPageLink": link, "Count": len(items)})

    def _wanted(self, text: str) -> dict[str, str]:
        """The filter's terms; values are case-sensitive, as they are there."""
        terms = text.split(" and ")
        found = [_TERM.fullmatch(term) for term in terms]
        if not all(found):
            raise Refused(400, "the filter cannot be read")
        return {term[1]: term[2] for term in found if term}

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        if self.price_faults.take("other_currency"):
            return {**one, "currencyCode": "EUR"}
        if self.price_faults.take("clock_skew"):
            tomorrow = datetime.fromtimestamp(self.clock.now() + 86_400, UTC)
            return {**one, "effectiveStartDate": tomorrow.isoformat().replace("+00:00", "Z")}
        usd = one["retailPrice"]
        if "Spot" in one["meterName"] and self.price_faults.take("spot_above_list"):
            usd = usd * 10
        return {**one, "retailPrice": self.figure(usd)}
