"""The one way in which a refreshed price list comes to count: whole or not at all, whenever the process dies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cloudtrain.prices.records import Change, ListEntry, Manifest


@contextmanager
def lock() -> Iterator[None]:
    """Wait until no other process installs, and keep others out. Not to be taken twice."""
    raise NotImplementedError


def manifest() -> Manifest:
    """What is kept of the lists that count; an empty one when there is none, or it is damaged."""
    raise NotImplementedError


def install(provider: str, text: bytes, entry: ListEntry, changes: Sequence[Change] = ()) -> None:
    """Let this list count from now on, with its lines of history. Under `lock()`. Raises UsageError when it cannot be written."""
    raise NotImplementedError
