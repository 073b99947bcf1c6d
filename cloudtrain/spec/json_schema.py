"""The JSON Schema of a spec file, for editors: what `cloudtrain schema spec` prints and `init` writes next to a spec.

It is made from the records of `schema`, so it cannot say anything else than what is accepted, but for one thing: an
editor reads plain words by YAML 1.2, so it warns of `packing: off` or `seed: 010`, which we take.
"""

from __future__ import annotations

import json
from typing import Any

from cloudtrain.spec.schema import Spec

FILE = (
    "cloudtrain.schema.json"  # next to the spec: an editor finds it by the spec's first line, wherever the folder goes
)
FIRST_LINE = f"# yaml-language-server: $schema={FILE}\n"
NULL = {"type": "null"}
_MADE_BY = f"Made by `cloudtrain schema spec > {FILE}`; make it again after an upgrade."


def json_schema() -> dict[str, Any]:
    """The whole document; every key has a description, and an empty value means the default."""
    made = Spec.model_json_schema()
    groups = made.pop("$defs")
    keys = {key: _key(field, groups, key in made["required"]) for key, field in made["properties"].items()}
    keys["data"] = {"description": keys["data"].pop("description"), "anyOf": [{"type": "string"}, keys["data"]]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": _MADE_BY,
        "title": "cloudtrain.yaml",
        "description": "What to fine-tune, on what, and how. Only `model` and `data` are needed.",
        "type": "object",
        "required": made["required"],
        "additionalProperties": False,
        "properties": keys,
    }


def text() -> str:
    """The schema as the bytes of a file."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _key(field: dict[str, Any], groups: dict[str, Any], required: bool) -> dict[str, Any]:
    """The schema of one key: groups in place of references to them, nothing that only repeats the key."""
    described = {"description": field["description"]}
    if "$ref" in field:
        group = groups[field["$ref"].rpartition("/")[2]]
        needed = group.get("required", [])
        inner = {key: _key(entry, groups, key in needed) for key, entry in group["properties"].items()}
        kind = "object" if required else ["object", "null"]
        found = {"type": kind, "additionalProperties": False, "properties": inner}
        return described | found | ({"required": needed} if needed else {})
    plain = {key: value for key, value in field.items() if key not in ("title", "description") and value is not None}
    if required:
        return described | plain
    if "anyOf" in plain:
        return described | plain | {"anyOf": [*(kind for kind in plain["anyOf"] if kind != NULL), NULL]}
    choices = {"enum": [*plain["enum"], None]} if "enum" in plain else {}
    return described | plain | {"type": [plain["type"], "null"]} | choices
