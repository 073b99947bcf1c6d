"""The one reader of state documents: bytes to a record, or one named fault."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from cloudtrain.errors import DamagedRecord, visible
from cloudtrain.records.form import VERSION, Record

R = TypeVar("R", bound=Record)


def read(kind: type[R], data: bytes, where: str) -> R:
    """The document as a record of this kind; `where` names the document for a person.

    Fields that the kind does not know are kept aside, and a document without a version is one of before there were
    versions. Raises DamagedRecord for anything else that is not of the kind's shape.
    """
    try:
        return kind.model_validate_json(kind.upgraded(data), extra="allow")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    field = visible(".".join(str(part) for part in first["loc"] if part not in ("int", "float")))
    if field == "version":
        raise DamagedRecord(
            where, field, f"it has the version {visible(str(first['input']))}, and this cloudtrain reads {VERSION}"
        )
    raise DamagedRecord(where, field, describe(first, field))


def read_claim(kind: type[R], data: bytes, where: str) -> R:
    """The same for a document of a machine: a field that is not of its shape is as if it were not there.

    Raises DamagedRecord when one that is needed is not, or when it is no such document at all.
    """
    try:
        return kind.model_validate_json(data, extra="allow")
    except ValidationError as error:
        bad = {str(each["loc"][0]) for each in error.errors(include_url=False) if each["loc"]}
    document = as_object(data) or {}
    left = json.dumps({name: value for name, value in document.items() if name not in bad}).encode()
    return read(kind, left if document else data, where)


def as_object(data: bytes) -> dict[str, Any] | None:
    """The JSON object in these bytes, or None."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def describe(error: Any, field: str) -> str:
    """What is wrong, as a message without the wrong value, which may be anything."""
    if error["type"] == "missing":
        return f"`{field}` is missing"
    said = str(error["msg"])
    said = said[:1].lower() + said[1:]
    return f"`{field}`: {said}" if field else said
