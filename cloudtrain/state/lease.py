"""A lease on a run in a bucket: one object, made and renewed under a condition, that expires with its holder.

The holder renews it from a thread. Whoever else wants it takes it over when it was not renewed for LEASE_S, by the
bucket's own clock, or when its holder was a process of this machine that is dead. A holder that could not renew it for
so long, because it slept or was cut off, has lost it; what it still begins then is caught by the engine's lock and by
the `cancelled` marker, which do not depend on a clock.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudtrain.errors import DamagedRecord
from cloudtrain.state.protocol import AlreadyThere, Holder

if TYPE_CHECKING:
    from cloudtrain.records import LeaseRecord

BEAT_S = 30.0  # a renewal is a write, and a day of them is paid for
LEASE_S = 90.0


class Lease(NamedTuple):
    """A lease as read from the bucket: its record, None for a damaged one, and the version a take-over must name."""

    record: LeaseRecord | None
    version: Any
    modified: float  # by the bucket's clock

    @property
    def here(self) -> bool:
        """Whether a process of this machine holds it."""
        return self.record is not None and self.record.machine == this_machine()

    @property
    def description(self) -> str:
        """The holder, for a person."""
        who = self.record
        return "somebody" if who is None else f"{who.user} on {who.host} (process {who.pid})"

    def is_of(self, token: str) -> bool:
        """Whether it is the one that was made with this token."""
        return self.record is not None and self.record.owner == token


@contextlib.contextmanager
def hold(objects: Any, path: str) -> Iterator[None]:
    """Hold the lease while the block runs. Raises AlreadyThere, naming the holder, and what `obstore` raises."""
    token = uuid.uuid4().hex
    version = take(objects, path, token)
    done = threading.Event()
    beat = threading.Thread(target=renew, args=(objects, path, token, version, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join(BEAT_S)
        with contextlib.suppress(Exception):  # it expires by age all the same; the block's own result counts
            release(objects, path, token)


def take(objects: Any, path: str, token: str) -> Any:
    """Make the lease, or take a dead one over. Returns its version; raises AlreadyThere."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    mode: Any = "create"
    for _ in range(3):
        try:
            return version_of(obstore.put(objects, path, document(token), mode=mode))
        except (AlreadyExistsError, PreconditionError):
            seen = look(objects, path)
        if seen is None:
            mode = "create"
        elif seen.is_of(token):  # ours: the answer to it was lost
            return seen.version
        elif is_dead(objects, path, seen):
            mode = seen.version
        else:
            raise AlreadyThere(f"{seen.description} holds `{path}`")
    raise AlreadyThere(f"another client has just taken `{path}`")


def renew(objects: Any, path: str, token: str, version: Any, done: threading.Event) -> None:
    """Renew the lease until `done` or until it is not ours any more. A bucket that cannot be asked is asked again."""
    import obstore
    from obstore.exceptions import PreconditionError

    while not done.wait(BEAT_S):
        try:
            version = version_of(obstore.put(objects, path, document(token), mode=version))
        except (PreconditionError, FileNotFoundError):
            with contextlib.suppress(Exception):
                seen = look(objects, path)
                if seen is None or not seen.is_of(token):
                    return
                version = seen.version  # renewed, and the answer was lost
        except Exception:  # noqa: S112  # no network: the lease survives a few beats without renewal
            continue


def release(objects: Any, path: str, token: str) -> None:
    """Release it, unless another client has taken it over."""
    import obstore

    seen = look(objects, path)
    if seen is not None and seen.is_of(token):
        obstore.delete(objects, path)


def holder(objects: Any, path: str) -> Holder | None:
    """Who holds the lease now; None when it is free or its holder is dead."""
    seen = look(objects, path)
    return None if seen is None or is_dead(objects, path, seen) else Holder(seen.description, seen.here)


def look(objects: Any, path: str) -> Lease | None:
    """The lease in the bucket, or None. A damaged one has no record, and expires by age."""
    import obstore

    from cloudtrain.records import LeaseRecord, read

    try:
        found = obstore.get(objects, path)
    except FileNotFoundError:
        return None
    version, modified = version_of(found.meta), found.meta["last_modified"].timestamp()
    try:
        record = read(LeaseRecord, bytes(found.bytes()), f"`{path}`")
    except DamagedRecord:
        record = None
    return Lease(record, version, modified)


def is_dead(objects: Any, path: str, seen: Lease) -> bool:
    """Whether its holder was a process of this machine that is gone, or has not renewed it for too long."""
    if seen.record is not None and seen.here and os.name != "nt" and not is_running(seen.record.pid):
        return True
    return bucket_time(objects, path) - seen.modified > LEASE_S


def bucket_time(objects: Any, path: str) -> float:
    """The bucket's own clock, by an object that is written for that: two machines need not agree on the time."""
    import obstore

    folder, _, name = path.rpartition("/")
    probe = f"{folder}/.{name}.{uuid.uuid4().hex}"
    obstore.put(objects, probe, b"", mode="overwrite")
    try:
        return float(obstore.head(objects, probe)["last_modified"].timestamp())
    finally:
        obstore.delete(objects, probe)


def document(token: str) -> bytes:
    """What the lease says of its holder."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    from cloudtrain.records import LeaseRecord

    return LeaseRecord(
        owner=token,
        machine=this_machine(),
        host=socket.gethostname(),
        pid=os.getpid(),
        user=user,
        time=time.time(),
        beat=uuid.uuid4().hex,
    ).as_line()


def version_of(tags: Any) -> dict[str, str]:
    """The condition "still this version" out of what the bucket answered."""
    return {name: tags[name] for name in ("e_tag", "version") if tags.get(name)}


def is_running(pid: int) -> bool:
    """Whether a process of this number lives here. A number that was used again only makes us wait for the age."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def this_machine() -> str:
    """This machine since its start, and this container of it: host names are not unique, and numbers of processes mean
    something only inside."""
    import hashlib

    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(open("/proc/sys/kernel/random/boot_id").read())  # noqa: SIM115
    with contextlib.suppress(OSError, AttributeError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    if len(parts) == 1:
        parts.append(str(uuid.getnode()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
