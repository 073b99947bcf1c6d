"""What a run's machine has written, read as data: bounded, checked against its shape, its names against a grammar.

Whoever is root on the machine can write anything there. What is not of its shape is passed over or named as a fault;
nothing here decides about money or deletion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from cloudtrain.errors import DamagedRecord
from cloudtrain.state.errors import StrangeKey

if TYPE_CHECKING:
    from cloudtrain.records import ExitRecord, Heartbeat, Record
    from cloudtrain.state.protocol import Store

R = TypeVar("R", bound="Record")

LARGEST_BYTES = 65536  # of heartbeat and exit record
UNREADABLE = "unreadable"  # the reason of an attempt whose exit record is none
LARGEST_EVENTS_BYTES = 4 << 20
ACTORS = ("agent", "supervisor", "trainer")  # who writes events on a machine
LONGEST_PATH, LONGEST_NAME = 900, 200  # characters; a name may be given an ending, and 255 bytes is the most anywhere


def read(store: Store, key: str, kind: type[R]) -> R | None:
    """A document of the machine, None when there is none. Raises DamagedRecord for one of another shape or size."""
    from cloudtrain.records import read_claim

    data = store.read_from(key, 0, LARGEST_BYTES + 1)
    if not data:
        return None
    where = f"`{key}` in `{store.url}`"
    if len(data) > LARGEST_BYTES:
        raise DamagedRecord(where, "", f"it has more than {LARGEST_BYTES} bytes")
    return read_claim(kind, data, where)


def heartbeat(store: Store, key: str) -> Heartbeat | None:
    """The newest heartbeat; one that cannot be read is none."""
    from cloudtrain.records import Heartbeat

    try:
        return read(store, key, Heartbeat)
    except DamagedRecord:
        return None


def exit_record(store: Store, key: str, attempt: int | None) -> ExitRecord | None:
    """How the attempt ended. One that cannot be read says so: its machine is over, and did not say how.

    A record of another attempt says nothing about this one.
    """
    from cloudtrain.records import ExitRecord

    try:
        found = read(store, key, ExitRecord)
    except DamagedRecord as damaged:
        return ExitRecord(reason=UNREADABLE, message=damaged.message, attempt=attempt)
    if found is not None and None not in (found.attempt, attempt) and found.attempt != attempt:
        return None
    return found


def events(store: Store, key: str) -> bytes:
    """The lines of the machine's events, as many as fit; none where they cannot be listed."""
    try:
        return store.read_from(key, 0, LARGEST_EVENTS_BYTES)
    except StrangeKey:
        return b""


def is_path(text: str) -> bool:
    """Whether the name of a file below a folder of the machine is one that we would take: it stays in that folder."""
    parts = text.split("/")
    return (
        len(text) <= LONGEST_PATH
        and text.isprintable()
        and "\\" not in text
        and ":" not in text
        and all(part not in ("", ".", "..") and len(part.encode()) <= LONGEST_NAME for part in parts)
    )
