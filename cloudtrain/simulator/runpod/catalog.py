"""What a fake RunPod asks and has, as its two APIs show it: a test may change all of it, and let it go wrong."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from cloudtrain.simulator.http_server import Reply, Request
from cloudtrain.simulator.price_faults import PriceFaults
from cloudtrain.simulator.runpod.validation import Problem, data

Row = Mapping[str, Any]
PAGE = 2
# What GraphQL is asked for of a GPU type, and of its stock; AMD's are missing where a CUDA version is asked for.
FIELDS = {"id", "displayName", "manufacturer", "memoryInGb", "secureCloud", "communityCloud", "maxGpuCount"}
FIELDS |= {f"{cloud}{market}Price" for cloud in ("secure", "community") for market in ("", "Spot")}
STOCK_FIELDS = {
    "minimumBidPrice",
    "uninterruptablePrice",
    "stockStatus",
    "minVcpu",
    "minMemory",
    "maxUnreservedGpuCount",
}
STOCK_INPUTS = {"gpuCount", "secureCloud", "dataCenterId", "minCudaVersion"}
_QUERY = re.compile(r"query\s*\{\s*gpuTypes\s*\{(.*)\}\s*\}", re.DOTALL)
_LOWEST = re.compile(r"(?:(\w+)\s*:\s*)?lowestPrice\s*\(\s*input\s*:\s*\{([^}]*)\}\s*\)\s*\{([^}]*)\}")
_INPUT = re.compile(r"(\w+)\s*:\s*(\"[^\"]*\"|\w+)")


class Catalog:
    """`sold` is what the data file says, until it is changed; `levels` is the stock of a data centre, otherwise LOW."""

    def __init__(self) -> None:
        self.sold: dict[str, Any] = copy.deepcopy(data("catalog"))
        self.levels: dict[str, str] = {}
        self.faults = PriceFaults()

    def row(self, table: str, name: str) -> dict[str, Any]:
        """A row of a table, to read or to change. Raises Problem 404."""
        found: list[dict[str, Any]] = [row for row in self.sold[table] if row["id"] == name]
        if not found:
            raise Problem(404, "there is no such type")
        return found[0]

    def usd_each(self, body: Mapping[str, Any]) -> float:
        """Dollars an hour for one GPU or vCPU of a pod that is made as `body` says."""
        if "gpu" in body:
            return float(self.row("gpus", body["gpu"]["id"])[body.get("cloud", "SECURE").lower()])
        return float(self.row("cpus", body["cpu"]["id"])["perVcpu"])

    def level(self, centers: list[str], stock: bool) -> str:
        """The best stock of these data centres."""
        order = ("NONE", "LOW", "MEDIUM", "HIGH")
        return max((self.levels.get(name, "LOW") for name in centers if stock), key=order.index, default="NONE")

    def listed(self, table: str, request: Request, stock: bool) -> Reply:
        """A table, two rows a page."""
        rows = [SHOWN[table](self, row, request, stock) for row in self.sold[table]]
        if self.faults.take("missing"):
            rows = rows[1:]
        start = 0
        if cursor := request.query.get("cursor", [""])[0]:
            start = _position(cursor)
            if self.faults.take("expired_token"):
                raise Problem(400, "the cursor is not valid any more")
        if instead := self.faults.instead(start // PAGE + 1, start + PAGE >= len(rows)):
            return instead
        here, following = self.faults.page(rows, PAGE, start)
        paging: dict[str, Any] = {"hasNextPage": following is not None}
        if following is not None:
            paging["nextCursor"] = base64.urlsafe_b64encode(str(following).encode()).decode()
        return self._reply({table: list(here), "pagination": paging})

    def one(self, table: str, name: str, request: Request, stock: bool) -> Reply:
        """One row of a table."""
        return self._reply(SHOWN[table](self, self.row(table, name), request, stock))

    def graphql(self, request: Request, stock: bool) -> Reply:
        """`gpuTypes`, which asks nobody for a key."""
        try:
            asked = _QUERY.fullmatch(json.loads(request.body)["query"].strip())
        except (ValueError, TypeError, KeyError):
            asked = None
        if asked is None:
            raise Problem(400, "only gpuTypes is known here")
        lowest = [
            (alias or "lowestPrice", _inputs(given), fields.split())
            for alias, given, fields in _LOWEST.findall(asked[1])
        ]
        names = _LOWEST.sub(" ", asked[1]).split()
        unknown = {*names} - FIELDS | {name for _, _, fields in lowest for name in fields if name not in STOCK_FIELDS}
        if unknown or len({*names, *(name for name, _, _ in lowest)}) != len(names) + len(lowest):
            return self._reply({"errors": [{"message": f"Cannot query field {sorted(unknown)}"}]}, 400)
        if instead := self.faults.instead(1, is_last=True):
            return instead
        hides_amd = any("minCudaVersion" in given for _, given, _ in lowest)
        types = []
        for gpu in self.sold["gpus"]:
            if not (hides_amd and gpu["manufacturer"] == "AMD"):
                card = _graphql_fields(gpu_document(self, gpu, request._replace(query={}), stock))
                places = {name: self._lowest(gpu, given, fields, stock) for name, given, fields in lowest}
                types.append({**{name: card.get(name) for name in names}, **places})
        if self.faults.take("missing"):
            types = types[1:]
        return self._reply({"data": {"gpuTypes": types}})

    def _lowest(self, gpu: Row, given: Mapping[str, str], fields: list[str], stock: bool) -> dict[str, Any]:
        """Of a card that is in secure data centres only, nothing is shown unless those are asked for."""
        wanted = given.get("dataCenterId", "").strip('"')
        centers = [name for name in gpu["dataCenters"] if wanted in ("", name)]
        fits = int(given.get("gpuCount", "1")) <= gpu["max"] and (
            given.get("secureCloud") == "true" or gpu["community"]
        )
        level = self.level(centers, stock) if fits else "NONE"
        known = {"stockStatus": None if level == "NONE" else level.capitalize()}
        return {name: known.get(name) for name in fields}

    def _reply(self, document: Mapping[str, Any], status: int = 200) -> Reply:
        return self.faults.sent(Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"}))


def gpu_document(catalog: Catalog, gpu: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A GPU type. Raises Problem 400 for a product without availability."""
    count = _count(request)
    shown = {
        "id": gpu["id"],
        "name": gpu["name"],
        "pool": None,
        "manufacturer": gpu["manufacturer"],
        "memory": gpu["memory"],
        "secure": bool(gpu["secure"]),
        "community": bool(gpu["community"]),
        "price": {cloud: _figure(catalog.faults, gpu[cloud], count) for cloud in ("secure", "community")},
        "maxCount": {"secure": gpu["max"], "community": gpu["max"] if gpu["community"] else 0},
    }
    return {**shown, **_availability(catalog, gpu, request, stock and count <= gpu["max"])}


def cpu_document(catalog: Catalog, cpu: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A CPU flavour."""
    shown = {name: cpu[name] for name in ("id", "name", "group", "vcpu", "ramGbPerVcpu")}
    usd = _figure(catalog.faults, cpu["perVcpu"], 1)
    return {
        **shown,
        "price": {"securePerVcpu": usd, "serverlessPerVcpu": usd},
        **_availability(catalog, cpu, request, stock),
    }


def data_center_document(catalog: Catalog, center: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A data centre."""
    return {**center, "networkVolumeTypes": ["STANDARD"], "compliance": [], "globalNetwork": False}


SHOWN: dict[str, Callable[[Catalog, Row, Request, bool], dict[str, Any]]] = {
    "gpus": gpu_document,
    "cpus": cpu_document,
    "dataCenters": data_center_document,
}


def _availability(catalog: Catalog, hardware: Row, request: Request, stock: bool) -> dict[str, Any]:
    """`product` may be left out: it is POD then."""
    if request.query.get("include", ["AVAILABILITY"]) != ["AVAILABILITY"]:
        raise Problem(400, "include is AVAILABILITY or nothing")
    if "include" not in request.query:
        if "product" in request.query:
            raise Problem(400, "product belongs to include=AVAILABILITY")
        return {}
    if request.query.get("product", ["POD"]) != ["POD"]:
        raise Problem(400, "this fake has pods only")
    level = catalog.level(hardware["dataCenters"], stock)
    centers = [
        {"id": name, "name": catalog.row("dataCenters", name)["name"], "availability": catalog.level([name], stock)}
        for name in hardware["dataCenters"]
    ]
    return {"availability": level, **({"dataCenters": centers} if stock else {})}


def _figure(faults: PriceFaults, usd: float, count: int) -> Any:
    """A price as it is shown."""
    if not usd or faults.take("zero"):
        return 0
    if faults.take("filler"):
        return 700
    if count > 1 and faults.take("per_pod"):
        return usd * count
    return str(usd) if faults.take("other_number") else usd


def _graphql_fields(gpu: Mapping[str, Any]) -> dict[str, Any]:
    """A GPU type under the names of the other API."""
    found = {"id": gpu["id"], "displayName": gpu["name"], "manufacturer": gpu["manufacturer"].capitalize()}
    found |= {"memoryInGb": gpu["memory"], "maxGpuCount": gpu["maxCount"]["secure"]}
    for cloud in ("secure", "community"):
        found |= {f"{cloud}Cloud": gpu[cloud], f"{cloud}Price": gpu["price"][cloud]}
    return found


def _inputs(text: str) -> dict[str, str]:
    found = dict(_INPUT.findall(text))
    if set(found) - STOCK_INPUTS:
        raise Problem(400, f"lowestPrice has no {sorted(set(found) - STOCK_INPUTS)}")
    return found


def _count(request: Request) -> int:
    text = request.query.get("count", ["1"])[0]
    if not text.isdecimal() or not int(text):
        raise Problem(400, "count is a number from 1")
    return int(text)


def _position(cursor: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(cursor))
    except ValueError:
        raise Problem(400, "the cursor is not one of ours") from None
