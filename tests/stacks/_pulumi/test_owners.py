"""A lock is taken from the dead, never from the living, and from another machine only by force."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import TeardownIncomplete
from cloudtrain.state.store import LocalFolder
from tests.patience import PATIENCE_S

owners = import_module("cloudtrain.stacks._pulumi.owners")
processes = import_module("cloudtrain.stacks._lifecycle.processes")
DEAD = 2**22 + 7  # above every number that a system gives


@pytest.fixture
def store(tmp_path: Path) -> LocalFolder:
    """A state."""
    return LocalFolder(tmp_path / "state")


@pytest.fixture
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """A living process that looks like the engine, and does not mind a SIGINT."""
    words = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print(flush=True); time.sleep(3600)"
    process = subprocess.Popen([sys.executable, "-c", words, "pulumi"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def lock(store: LocalFolder, pid: int, host: str | None = None, name: str = "a.json") -> None:
    """The engine's lock on run `mine`."""
    document = {"pid": pid, "username": "u", "hostname": host or socket.gethostname(), "timestamp": "today"}
    store.write(f"{owners.lock_folder('mine')}/{name}", json.dumps(document).encode())


def locked(store: LocalFolder) -> int:
    """By how many."""
    return len(store.children(owners.lock_folder("mine")))


def test_a_living_owner_keeps_its_lock_even_by_force(store: LocalFolder, engine: subprocess.Popen[bytes]) -> None:
    """Its update would not notice the loss."""
    lock(store, engine.pid)
    for force in (False, True):
        removed, kept = owners.unlock(store, "mine", force)
        assert removed == []
        assert str(engine.pid) in kept[0]
    assert locked(store) == 1


@pytest.mark.parametrize("pid", [DEAD, 0], ids=["dead", "none"])
def test_a_dead_owner_loses_it(store: LocalFolder, pid: int) -> None:
    """With a number that nobody has."""
    lock(store, pid)
    removed, kept = owners.unlock(store, "mine", False)
    assert (len(removed), kept, locked(store)) == (1, [], 0)


def test_an_owner_whose_number_another_program_has_loses_it(store: LocalFolder) -> None:
    """A process that lives, and is no engine."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        lock(store, stranger.pid)
        removed, kept = owners.unlock(store, "mine", False)
        assert (len(removed), kept, locked(store)) == (1, [], 0)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_owner_on_another_machine_is_only_overruled_by_force(store: LocalFolder) -> None:
    """Nobody here knows whether it lives."""
    lock(store, DEAD, "elsewhere")
    assert owners.unlock(store, "mine", False)[1]
    with pytest.raises(TeardownIncomplete, match="elsewhere") as told:
        owners.end_owner(store, "mine")
    assert "--force" in told.value.hint
    assert locked(store) == 1
    owners.end_owner(store, "mine", force=True)
    assert owners.unlock(store, "mine", True)[0]
    assert locked(store) == 0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": null}', b"\xff"])
def test_a_damaged_lock_belongs_to_nobody(store: LocalFolder, text: bytes) -> None:
    """It is removed, and ends nobody."""
    store.write(f"{owners.lock_folder('mine')}/a.json", text)
    owners.end_owner(store, "mine")
    assert len(owners.unlock(store, "mine", False)[0]) == 1
    assert locked(store) == 0


def test_an_owner_that_does_not_obey_is_ended_all_the_same(
    store: LocalFolder, engine: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT, and then stronger words."""
    monkeypatch.setattr(owners, "OWNER_PATIENCE_S", 0.1)
    lock(store, engine.pid)
    owners.end_owner(store, "mine")
    assert engine.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_stranger_with_the_number_of_an_owner_is_left_alone(store: LocalFolder) -> None:
    """A process that is no engine."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    try:
        lock(store, stranger.pid)
        owners.end_owner(store, "mine")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_plugin_that_outlived_its_engine_is_ended_and_a_later_process_with_its_number_is_not(
    tmp_path: Path, engine: subprocess.Popen[bytes]
) -> None:
    """By number and start."""
    folder = tmp_path / "pids"
    owners.end_orphans(folder)
    folder.mkdir()
    document: dict[str, Any] = {"pid": engine.pid, "start": "1"}
    (folder / "1").write_text(json.dumps(document))
    for number, text in enumerate(("", "[]", '{"pid": "x", "start": ""}', "null")):
        (folder / f"bad{number}").write_text(text)
    owners.end_orphans(folder)
    assert engine.poll() is None
    (folder / "1").write_text(json.dumps({**document, "start": processes.start_of(engine.pid)}))
    owners.end_orphans(folder)
    assert engine.wait(PATIENCE_S) == -signal.SIGKILL
    assert not (folder / "1").exists()
