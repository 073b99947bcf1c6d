"""Whether a stack's record names only what is ours: the engine starts a program, or runs code, for what a type names.

It is read as the engine may read it: keys in any case of letters, the same key twice, packed or not. What is no JSON
the engine refuses itself; then it only has to name nothing foreign as far as it can be read.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

OURS, ROOT, PROVIDER = "cloudtrain:", "pulumi:pulumi:Stack", "pulumi:providers:cloudtrain"
LARGEST_BYTES = 64 << 20
PACKED = b"\x1f\x8b"
_OF_PROVIDER = {"version"}  # more would name another plugin, or where to fetch it
_TYPE = re.compile(r'"type"\s*:\s*"([^"]*)"', re.IGNORECASE)
_HIDDEN_LETTER = re.compile(r"\\u00[4-7][0-9a-f]|\\u(017f|212a)", re.IGNORECASE)


class Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys, also those that are there twice."""

    def all(self, name: str) -> list[Any]:
        """What stands under a key of this name, in whatever case."""
        return [value for key, value in self if key.casefold() == name]


def foreign(data: bytes) -> str:
    """Why the engine must not see a stack's record; "" when it may."""
    text = (unpacked(data) if data.startswith(PACKED) else data)[: LARGEST_BYTES + 1].decode(errors="replace")
    if len(text) > LARGEST_BYTES:
        return "it is larger than any of ours"
    try:
        document = json.loads(text, object_pairs_hook=Pairs)
    except RecursionError:
        return "it is deeper than any of ours"
    except ValueError:
        named = sorted({kind for kind in _TYPE.findall(text) if ":" in kind and not is_ours(kind)})
        return f"it names {', '.join(named)}"[:200] if named else hidden(text)
    return "; ".join(dict.fromkeys(why for each in resources(document) if (why := is_foreign(each))))[:400]


def hidden(text: str) -> str:
    """Why a text that is no JSON is kept from the engine all the same: it may hide a type from us."""
    return "it is no JSON, and hides letters" if _HIDDEN_LETTER.search(text) else ""


def unpacked(data: bytes) -> bytes:
    """What can be unpacked of it, in all its parts."""
    found = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            while len(found) <= LARGEST_BYTES and (block := packed.read1(1 << 16)):
                found += block
    except (OSError, EOFError, zlib.error):
        pass
    return bytes(found)


def is_ours(kind: object) -> bool:
    """Whether a type is one of ours, or one that the engine makes around them."""
    return isinstance(kind, str) and (kind.startswith(OURS) or kind in (ROOT, PROVIDER))


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
    """Why a resource is not one of ours; "" when it is. Without a type the engine can do nothing with it."""
    if not isinstance(resource, Pairs):
        return "it holds a resource that is none"
    for kind in resource.all("type"):
        if not is_ours(kind):
            return f"it holds a resource of the type `{str(kind)[:80]}`"
        parts = (*resource.all("inputs"), *resource.all("outputs"))
        if kind == PROVIDER and not all(
            isinstance(part, Pairs) and {key.casefold() for key, _ in part} <= _OF_PROVIDER for part in parts
        ):
            return "its provider is set up in another way than ours"
    return ""
