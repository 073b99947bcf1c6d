"""What Compute Engine takes and refuses: documents against Google's published schema, and refusals in Google's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_DIGITS = re.compile(r"-?\d{1,20}")


class Refusal(Exception):
    """An HTTP error of Google's: status, `error.errors[].reason`, and the message."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        part = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.status, "message": self.message, "errors": [part]}}


def invalid(message: str) -> Refusal:
    """400: the request is wrong."""
    return Refusal(400, "invalid", message)


def not_found(link: str) -> Refusal:
    """404, in the words of Compute Engine."""
    return Refusal(404, "notFound", f"The resource '{link}' was not found")


@lru_cache(maxsize=1)
def schemas() -> Mapping[str, Any]:
    """The schemas of compute v1 as google-api-python-client ships them; empty where it is not installed."""
    found = find_spec("googleapiclient")
    if found is None or not found.submodule_search_locations:
        return {}
    path = Path(found.submodule_search_locations[0], "discovery_cache", "documents", "compute.v1.json")
    published: Mapping[str, Any] = json.loads(path.read_text())["schemas"] if path.is_file() else {}
    return published


def check(schema: str, document: object) -> None:
    """Refuse (400) unknown fields, wrong types, words that are no member of an enum, and malformed names."""
    published = schemas()
    if published:
        _check({"$ref": schema}, document, "resource", published)


def _check(rule: Mapping[str, Any], value: object, path: str, published: Mapping[str, Any]) -> None:
    if "$ref" in rule:
        rule = published[rule["$ref"]]
    kind = rule.get("type", "any")
    if kind == "object":
        _check_object(rule, value, path, published)
    elif kind == "array":
        if not isinstance(value, list):
            raise invalid(f"Invalid value at '{path}': a list is needed")
        for number, part in enumerate(value):
            _check(rule["items"], part, f"{path}[{number}]", published)
    else:
        _check_plain(rule, kind, value, path)


def _check_object(rule: Mapping[str, Any], value: object, path: str, published: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{path}': an object is needed")
    known, others = rule.get("properties", {}), rule.get("additionalProperties")
    for name, part in value.items():
        inner = known.get(name, others)
        if inner is None:
            raise invalid(f"Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field.")
        _check(inner, part, f"{path}.{name}", published)


def _check_plain(rule: Mapping[str, Any], kind: str, value: object, path: str) -> None:
    wrong = invalid(f"Invalid value for field '{path}': '{value}'.")
    if kind == "boolean":
        if not isinstance(value, bool):
            raise wrong
    elif kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong
    elif kind == "string":
        _check_text(rule, value, wrong)


def _check_text(rule: Mapping[str, Any], value: object, wrong: Refusal) -> None:
    if str(rule.get("format", "")).endswith("int64"):
        if isinstance(value, bool) or not _DIGITS.fullmatch(str(value)):
            raise wrong
        return
    if not isinstance(value, str):
        raise wrong
    if "enum" in rule and value not in rule["enum"]:
        raise wrong
    if "pattern" in rule and not re.fullmatch(rule["pattern"], value):
        raise wrong
