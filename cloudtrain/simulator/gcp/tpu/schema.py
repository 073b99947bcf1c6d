"""Checks documents against Google's published API descriptions, as a strict server does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from cloudtrain.simulator.gcp.tpu.catalog import Refusal

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "integer": int,
    "number": (int, float),
}


@cache
def description(api: str) -> Mapping[str, Any]:
    """The discovery document of `tpu.v2alpha1` or `cloudtasks.v2`, out of google-api-python-client."""
    path = files("googleapiclient").joinpath("discovery_cache", "documents", f"{api}.json")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def check(api: str, schema: str, value: Any, path: str = "") -> None:
    """Raise Refusal for an unknown field, a wrong type, an enum value or a time that the API does not know."""
    if not isinstance(value, dict):
        raise _invalid(path or schema, "not an object")
    known = description(api)["schemas"][schema].get("properties", {})
    for name, inner in value.items():
        if name not in known:
            raise _invalid(f"{path}{name}", f"unknown field of {schema}")
        _check_value(api, known[name], inner, f"{path}{name}")


def parameters(api: str, resource: tuple[str, ...], method: str) -> frozenset[str]:
    """The query parameters that a method takes."""
    at: Any = description(api)
    for name in resource:
        at = at["resources"][name]
    common = description(api)["parameters"]
    return frozenset({**at["methods"][method].get("parameters", {}), **common})


def _check_value(api: str, spec: Mapping[str, Any], value: Any, path: str) -> None:
    if "$ref" in spec:
        check(api, spec["$ref"], value, f"{path}.")
        return
    kind = spec.get("type", "any")
    if kind in _TYPES and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        raise _invalid(path, f"not a {kind}")
    if "enum" in spec and value not in spec["enum"]:
        raise _invalid(path, f"{value!r} is not one of its values")
    if spec.get("format") == "google-datetime":
        instant(value, path)
    if spec.get("format") == "google-duration":
        seconds(value, path)
    if kind == "array":
        for number, item in enumerate(value):
            _check_value(api, spec.get("items", {}), item, f"{path}[{number}]")
    if kind == "object" and "additionalProperties" in spec:
        for name, item in value.items():
            _check_value(api, spec["additionalProperties"], item, f"{path}.{name}")


def instant(text: str, path: str = "time") -> float:
    """Epoch seconds of a timestamp. Raises Refusal."""
    try:
        if not text.endswith("Z"):
            raise ValueError(text)
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        raise _invalid(path, f"{text!r} is not a timestamp") from None


def seconds(text: str, path: str = "duration") -> float:
    """Seconds of a duration such as `60s`. Raises Refusal."""
    if not re.fullmatch(r"-?\d+(\.\d{1,9})?s", text):
        raise _invalid(path, f"{text!r} is not a duration")
    return float(text[:-1])


def _invalid(path: str, message: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", f"Invalid value at '{path}': {message}.")
