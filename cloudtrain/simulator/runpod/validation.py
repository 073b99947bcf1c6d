"""What a fake RunPod refuses: bodies that are not of the contract (422), and those that break a rule of it (400)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


class Problem(Exception):
    """An answer of RFC 9457: a status, a message, and for a 422 the single failures."""

    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


@cache
def data(name: str) -> dict[str, Any]:
    """A data file of the simulation: `requests`, `catalog`."""
    document: dict[str, Any] = json.loads(files("cloudtrain.simulator.runpod").joinpath(f"{name}.json").read_text())
    return document


def parse(operation: str, body: bytes) -> dict[str, Any]:
    """The body as the operation's document. Raises Problem 422, as RunPod does, with every failure listed."""
    try:
        document = json.loads(body)
    except ValueError:
        raise Problem(422, "the body is not JSON") from None
    errors = list(failures(data("requests")[operation], document, "body"))
    if errors:
        raise Problem(422, "the request does not match the contract", errors)
    parsed: dict[str, Any] = document
    return parsed


def failures(schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    """Where `value` differs from `schema`: the part of JSON Schema that the data file uses."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        yield f"{where}: not of type {' or '.join(kinds)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: not one of {', '.join(schema['enum'])}"
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield f"{where}: too short"
    if _is(value, "integer") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{where}: out of range"
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{where}: too many items"
        for index, item in enumerate(value):
            yield from failures(schema.get("items", {}), item, f"{where}[{index}]")
    if isinstance(value, dict):
        yield from _object_failures(schema, value, where)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind != "integer" or not isinstance(value, bool))


def _object_failures(schema: Mapping[str, Any], value: Mapping[str, Any], where: str) -> Iterator[str]:
    properties, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in schema.get("required", []):
        if name not in value:
            yield f"{where}.{name}: missing"
    for name, item in value.items():
        if name in properties:
            yield from failures(properties[name], item, f"{where}.{name}")
        elif others is False:
            yield f"{where}.{name}: unknown property"
        elif isinstance(others, dict):
            yield from failures(others, item, f"{where}.{name}")


def row(table: str, key: str) -> dict[str, Any] | None:
    """A GPU, CPU flavour or data centre of the fake catalogue by its identifier."""
    found: dict[str, Any] | None = next((row for row in data("catalog")[table] if row["id"] == key), None)
    return found


def check_pod(body: Mapping[str, Any]) -> None:
    """The rules between fields of a pod. Raises Problem 422 for a missing image and 400 for the rest.

    RunPod gives 400 both for these and for no capacity, with no code that tells them apart.
    """
    mounts = body.get("mounts", {})
    if "image" not in body and "templateId" not in body:
        raise Problem(422, "the request does not match the contract", ["body.image: missing"])
    if ("gpu" in body) == ("cpu" in body):
        raise Problem(400, "exactly one of gpu and cpu must be given")
    if "persistent" in mounts and ("network" in mounts or "cpu" in body):
        raise Problem(400, "mounts.persistent excludes mounts.network and cpu")
    if len(body.get("env", {})) > 50:
        raise Problem(400, "more than 50 environment variables")
    if unknown := [name for name in body.get("dataCenterIds", []) if row("dataCenters", name) is None]:
        raise Problem(400, f"unknown data center {unknown[0]}")
    if "gpu" in body:
        _check_gpu(body)
    else:
        _check_cpu(body["cpu"], body.get("disk", 20))


def _check_gpu(body: Mapping[str, Any]) -> None:
    gpu = body["gpu"]
    known = row("gpus", gpu["id"])
    if known is None:
        raise Problem(400, f"unknown GPU type {gpu['id']}")
    if gpu.get("count", 1) > known["max"]:
        raise Problem(400, f"at most {known['max']} GPUs of this type in a pod")
    if not known[body.get("cloud", "SECURE").lower()]:
        raise Problem(400, "this GPU type is not offered in this cloud")
    if known["manufacturer"] != "NVIDIA":
        if body.get("globalNetworking"):
            raise Problem(400, "globalNetworking needs an NVIDIA GPU")
        if gpu.get("allowedCudaVersions") or gpu.get("minCudaVersion"):
            raise Problem(400, "no machine of this type reports such a CUDA version")
    check_place(known, body)


def _check_cpu(cpu: Mapping[str, Any], disk_gb: int) -> None:
    """The container disk has a limit by vCPU: RunPod's own SDK knows it, the published contract does not."""
    known = row("cpus", cpu["id"])
    if known is None:
        raise Problem(400, f"unknown CPU flavor {cpu['id']}")
    count = cpu["vcpuCount"]
    if count & (count - 1) or not known["vcpu"]["min"] <= count <= known["vcpu"]["max"]:
        raise Problem(400, "vcpuCount is no power of two or not of this flavor")
    most_gb = known["diskGbPerVcpu"] * count
    if disk_gb > most_gb:
        raise Problem(400, f"container disk of {disk_gb} GB is over the limit of {most_gb} GB of this CPU pod")


def check_place(known: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Raises Problem 400 when none of the wanted data centres has this hardware."""
    wanted = body.get("dataCenterIds")
    if wanted and not set(wanted) & set(known["dataCenters"]):
        raise Problem(400, "there are no instances of this type in the given data centers")
