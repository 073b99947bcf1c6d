"""The interface of a state: small documents under keys, one conditional write, and a lease.

Keys are slash-separated and relative (`runs/<id>/intent.json`). Every write is whole or absent. `create` is the only
conditional write; "has anybody begun this run" depends on it. `hold` is a lease that ends with its holder.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple, Protocol

from cloudtrain.errors import CloudtrainError


class AlreadyThere(CloudtrainError):
    """`create` found the key taken."""


class Holder(NamedTuple):
    """Who holds a lease: words for a person, and whether it is a process of this machine."""

    description: str
    here: bool


class Store(Protocol):
    """What a state can do, local or in a bucket."""

    url: str

    def read(self, key: str) -> bytes | None:
        """The document, or None."""

    def read_from(self, key: str, start: int, limit: int) -> bytes:
        """At most `limit` bytes of a document from byte `start` on; empty when it is absent or shorter."""

    def write(self, key: str, data: bytes) -> None:
        """Replace the document atomically."""

    def create(self, key: str, data: bytes) -> None:
        """Write the document if it does not exist; raises AlreadyThere."""

    def append(self, key: str, line: bytes) -> None:
        """Add one line to a `.jsonl` document; it has reached the disk when this returns."""

    def size(self, key: str) -> int:
        """Bytes of a document that was written whole; 0 when it is absent."""

    def delete(self, key: str) -> None:
        """Remove a document and everything below it; absent is fine."""

    def children(self, key: str) -> list[str]:
        """Names directly below a key, sorted."""

    def files(self, key: str) -> list[str]:
        """Every document below a key, however deep, relative to it, sorted."""

    def place(self, key: str) -> str:
        """A document's path or URL, for messages."""

    def folder(self, key: str) -> Path:
        """The local folder of the documents below a key; raises UsageError when they are not on this machine."""

    def hold(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Hold a lease while the block runs; raises AlreadyThere, naming the process, while another holds it."""

    def is_held(self, key: str) -> bool:
        """Whether anybody holds a lease now."""

    def holder(self, key: str) -> Holder | None:
        """Who holds a lease, where processes of several machines can; None: it is free, or there are no leases."""
