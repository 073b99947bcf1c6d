"""Whether a stack's record names only what is ours: the engine starts a program, or runs code, for what a type names.

It is read as the engine may read it: keys in any case of letters, the same key twice, packed or not.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

OURS, ROOT, PROVIDER = "cloudtrain:", "pulumi:pulumi:Stack", "pulumi:providers:cloudtrain"
LARGEST_BYTES = 64 << 20
_OF_PROVIDER = {"version"}  # more would name another plugin, or where to fetch it


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys, also those that are there twice."""

    def all(self, name: str) -> list[Any]:
        """What stands under a key of this name, in whatever case."""
        return [value for key, value in self if key.casefold() == name]


def foreign(data: bytes, packed: bool = False) -> str:
    """Why the engine must not see a stack's record; "" when it may."""
    try:
        text = zlib.decompressobj(31).decompress(data, LARGEST_BYTES + 1) if packed else data
        if len(text) > LARGEST_BYTES:
            return "it is larger than any of ours"
        document = json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError, zlib.error):
        return "it cannot be read"
    if not isinstance(document, Pairs):
        return "it is no stack's record"
    return next((why for each in resources(document) if (why := is_foreign(each))), "")


def resources(node: Any) -> Iterator[Any]:
    """Everything in the record that stands where a resource stands, however deep."""
    if isinstance(node, Pairs):
        for key, value in node:
            if key.casefold() == "resources" and isinstance(value, list) and not isinstance(value, Pairs):
                yield from value
            elif key.casefold() == "resource":
                yield value
            elif key.casefold() not in ("inputs", "outputs"):
                yield from resources(value)
    elif isinstance(node, list):
        for value in node:
            yield from resources(value)


def is_foreign(resource: Any) -> str:
    """Why a resource is not one of ours; "" when it is."""
    if not isinstance(resource, Pairs):
        return "it holds a resource that is none"
    types = resource.all("type")
    if not types:
        return "it holds a resource without a type"
    for kind in types:
        if not isinstance(kind, str) or not (kind.startswith(OURS) or kind in (ROOT, PROVIDER)):
            return f"it holds a resource of the type `{str(kind)[:80]}`"
        if kind == PROVIDER and not all(
            isinstance(part, Pairs) and {key.casefold() for key, _ in part} <= _OF_PROVIDER
            for part in (*resource.all("inputs"), *resource.all("outputs"))
        ):
            return "its provider is set up in another way than ours"
    return ""
