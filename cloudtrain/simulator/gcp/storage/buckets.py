"""What lies in the buckets of the fake Cloud Storage, for both of its APIs: objects with generations, in pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5

from cloudtrain.simulator.aws.wire import Refused
from cloudtrain.simulator.clock import Clock

PAGE = 1000
ENGINES = "/pulumi/"


@dataclass
class Thing:
    """An object."""

    data: bytes
    generation: int
    modified: float
    meta: dict[str, str] = field(default_factory=dict)
    kind: str = "application/octet-stream"

    def headers(self) -> dict[str, str]:
        """What goes with its content."""
        return {
            "ETag": f'"{md5(self.data, usedforsecurity=False).hexdigest()}"',
            "x-goog-generation": str(self.generation),
            "Last-Modified": formatdate(self.modified, usegmt=True),
            "Content-Type": self.kind,
            **self.meta,
        }


class Buckets:
    """Buckets by name. No two objects ever have the same generation."""

    def __init__(self, clock: Clock) -> None:
        self.kept: dict[str, dict[str, Thing]] = {}
        self._clock = clock
        self._number = 0

    def next_number(self) -> int:
        """One that nothing here has yet."""
        self._number += 1
        return self._number

    def things(self, bucket: str) -> dict[str, Thing]:
        """The objects of a bucket. Raises Refused."""
        if bucket not in self.kept:
            raise Refused("NoSuchBucket", "The specified bucket does not exist.", 404)
        return self.kept[bucket]

    def thing(self, bucket: str, key: str) -> Thing:
        """One object. Raises Refused."""
        found = self.things(bucket).get(key)
        if found is None:
            raise Refused("NoSuchKey", "The specified key does not exist.", 404)
        return found

    def keep(self, bucket: str, key: str, data: bytes, match: str | None = None) -> Thing:
        """Write an object, if it has the generation `match` ("0": if there is none). Raises Refused."""
        before = self.things(bucket).get(key)
        if match is not None and int(match) != (before.generation if before else 0):
            raise Refused("PreconditionFailed", "At least one of the conditions did not hold.", 412)
        made = Thing(data, int(self._clock.now() * 1e6) + self.next_number(), self._clock.now())
        self.kept[bucket][key] = made
        return made


def page(things: dict[str, Thing], prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str], str]:
    """Keys and folders below a prefix, and the key after which the next page begins ("" for the last)."""
    found: list[str] = []
    folders: dict[str, None] = {}
    for key in _sorted_after(things, prefix, after):
        if len(found) + len(folders) >= PAGE:
            return found, list(folders), found[-1] if found else after
        inside = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if inside[1]:
            folders[prefix + inside[0] + delimiter] = None
        else:
            found.append(key)
    return found, list(folders), ""


def _sorted_after(things: dict[str, Thing], prefix: str, after: str) -> Iterator[str]:
    return (key for key in sorted(things) if key.startswith(prefix) and key > after)
