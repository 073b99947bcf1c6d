"""Which state this is: an id, made once and kept in it, that names, tags, tokens and process marks carry.

So the same spec in two states is two runs, and what one of them does touches nothing of the other's.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator

from cloudtrain.errors import UsageError
from cloudtrain.state.protocol import AlreadyThere, Store
from cloudtrain.state.store import read_record

KEY = "state.json"


def find(store: Store) -> str:
    """The state's id, eight hexadecimal digits; "" for one that has none yet. Raises DamagedRecord."""
    from cloudtrain.records import StateRecord

    found = read_record(store, KEY, StateRecord)
    return "" if found is None else found.id


def of(store: Store) -> str:
    """The state's id, made now if it has none: of clients that do so at once, all get the first one's."""
    from cloudtrain.records import StateRecord

    if known := find(store):
        return known
    made = StateRecord(id=secrets.token_hex(4), created=time.time())
    try:
        store.create(KEY, made.as_bytes())
    except AlreadyThere:
        return find(store)
    return made.id


def carried_by(store: Store, run: str) -> tuple[str, ...]:
    """The ids that what a run has made may carry; "" is what an older version began, which carries none.

    Its record says which one. Where that is gone or damaged it is this state's own, or none. A state that cannot be
    reached is no damage: that is raised (BucketDenied, BucketUnreachable).
    """
    from cloudtrain.records import IntentRecord

    intent, own = None, ""
    with _damage_passed_over():
        intent = read_record(store, f"runs/{run}/intent.json", IntentRecord)
    if intent is not None:
        return (intent.state,)
    with _damage_passed_over():
        own = find(store)
    return (own, "") if own else ("",)


@contextlib.contextmanager
def _damage_passed_over() -> Iterator[None]:
    """Let a block end where a document cannot be read."""
    from cloudtrain.state.errors import BucketDenied, BucketUnreachable

    try:
        yield
    except (BucketDenied, BucketUnreachable):
        raise
    except UsageError:
        pass
