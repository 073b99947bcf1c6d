"""A lease on a run in a bucket: held by one, renewed, and dead with its holder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from cloudtrain.state import lease
from cloudtrain.state.bucket import ObjectFolder
from cloudtrain.state.protocol import AlreadyThere
from cloudtrain.state.store import LocalFolder
from tests.patience import PATIENCE_S

LOCK = "runs/a/client.lock"


@pytest.fixture
def memory() -> ObjectFolder:
    """A state in an object store of this process."""
    return ObjectFolder("gs://states", MemoryStore())


def test_a_holder_is_named_and_known_to_be_here(memory: ObjectFolder) -> None:
    """Who holds it: user, host and process; a folder has no such leases."""
    assert memory.holder(LOCK) is None
    with memory.hold(LOCK):
        holder = memory.holder(LOCK)
        assert holder is not None
        assert holder.here
        assert f"process {os.getpid()}" in holder.description
    assert memory.children("runs/a") == []
    assert LocalFolder(Path("/nowhere")).holder(LOCK) is None


def leave(memory: ObjectFolder, **changes: Any) -> None:
    """A lease as a holder leaves it that could not give it back."""
    memory.write(LOCK, json.dumps({**json.loads(lease.document("theirs")), **changes}).encode())


def test_the_lease_of_a_dead_process_here_is_taken_over(memory: ObjectFolder) -> None:
    """kill -9 of a client does not lock the run for its next one."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leave(memory, pid=dead.pid)
    assert memory.holder(LOCK) is None
    with memory.hold(LOCK):
        assert memory.holder(LOCK) is not None


def test_another_machines_process_is_not_taken_for_dead(
    memory: ObjectFolder,
) -> None:
    """Only the age ends that lease: numbers and host names mean nothing across machines."""
    leave(memory, pid=2**22 + 1, machine="another")
    holder = memory.holder(LOCK)
    assert holder is not None
    assert not holder.here
    with pytest.raises(AlreadyThere, match=str(2**22 + 1)), memory.hold(LOCK):
        pytest.fail("two hold it")


def test_a_lease_that_is_not_renewed_dies(memory: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bucket's clock, wherever its holder is; the probe for that clock does not stay."""
    leave(memory, machine="another")
    monkeypatch.setattr(lease, "LEASE_S", -1.0)
    with memory.hold(LOCK):
        assert memory.files("runs/a") == ["client.lock"]


def test_a_lease_is_renewed_while_it_is_held(memory: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its object changes again and again, also after a beat that could not be written."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    with memory.hold(LOCK):
        seen = {memory.read(LOCK)}
        for _ in range(500):
            threading.Event().wait(0.01)
            seen.add(memory.read(LOCK))
            if len(seen) > 3:
                break
    assert len(seen) > 3
    assert memory.read(LOCK) is None


def test_a_holder_that_slept_does_not_take_its_lease_back(
    memory: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over while the holder was away: it neither renews nor removes what is somebody else's now."""
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    with memory.hold(LOCK):
        leave(memory, machine="another")
        threading.Event().wait(0.1)
    assert b"another" in (memory.read(LOCK) or b"")


def test_a_damaged_lease_dies_by_age_only(memory: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whose it is, so nobody takes it at once, and it does not last for ever."""
    memory.write(LOCK, b"{")
    with pytest.raises(AlreadyThere), memory.hold(LOCK):
        pytest.fail("two hold it")
    monkeypatch.setattr(lease, "LEASE_S", -1.0)
    with memory.hold(LOCK):
        pass


def test_of_two_that_find_a_dead_lease_one_gets_it(memory: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen it dead before either takes it: the second meets the first one's."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    leave(memory, pid=dead.pid)
    both, real, taken, refused = threading.Barrier(2, timeout=PATIENCE_S), lease.is_dead, [], []

    def seen_by_both(objects: Any, path: str, seen: Any) -> bool:
        found = real(objects, path, seen)
        if found:
            both.wait()
        return found

    def client() -> None:
        try:
            taken.append(lease.take(memory.objects, LOCK, f"token-{threading.get_ident()}"))
        except AlreadyThere:
            refused.append(1)

    monkeypatch.setattr(lease, "is_dead", seen_by_both)
    clients = [threading.Thread(target=client) for _ in range(2)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    assert (len(taken), len(refused)) == (1, 1)
