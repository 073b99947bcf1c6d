"""The catalogue of a fake RunPod as its API shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cloudtrain.simulator.http_server import Request
from cloudtrain.simulator.runpod.validation import Problem, row

Row = Mapping[str, Any]


def gpu_document(gpu: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A GPU type. Raises Problem 400 when availability is asked for without a product."""
    shown = {
        "id": gpu["id"],
        "name": gpu["name"],
        "pool": None,
        "manufacturer": gpu["manufacturer"],
        "memory": gpu["memory"],
        "secure": bool(gpu["secure"]),
        "community": bool(gpu["community"]),
        "price": {"secure": gpu["secure"], "community": gpu["community"]},
        "maxCount": {"secure": gpu["max"], "community": gpu["max"] if gpu["community"] else 0},
    }
    return {**shown, **_availability(gpu, request, stock)}


def cpu_document(cpu: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A CPU flavour."""
    shown = {name: cpu[name] for name in ("id", "name", "group", "vcpu", "ramGbPerVcpu")}
    price = {"securePerVcpu": cpu["perVcpu"], "serverlessPerVcpu": cpu["perVcpu"]}
    return {**shown, "price": price, **_availability(cpu, request, stock)}


def data_center_document(center: Row, request: Request, stock: bool) -> dict[str, Any]:
    """A data centre."""
    return {**center, "networkVolumeTypes": ["STANDARD"], "compliance": [], "globalNetwork": False}


def _availability(hardware: Row, request: Request, stock: bool) -> dict[str, Any]:
    wanted, product = "include" in request.query, "product" in request.query
    if wanted != product:
        raise Problem(400, "include=AVAILABILITY and product belong together")
    if not wanted:
        return {}
    level = "LOW" if stock else "NONE"
    centers = [
        {"id": name, "name": (row("dataCenters", name) or {})["name"], "availability": level}
        for name in hardware["dataCenters"]
    ]
    return {"availability": level, **({"dataCenters": centers} if stock else {})}


CATALOG: dict[str, Callable[[Row, Request, bool], dict[str, Any]]] = {
    "gpus": gpu_document,
    "cpus": cpu_document,
    "dataCenters": data_center_document,
}
