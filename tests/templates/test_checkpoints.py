"""Checkpoints: whole or absent, newest first, an older one when the newest is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
from failures import SaveFailed


def saved(store: checkpoints.Store, step: int) -> Path:
    """Publish a checkpoint of two files."""
    written = store.partial / f"checkpoint-{step}"
    written.mkdir()
    (written / "weights").write_bytes(b"w" * 100)
    (written / "optimizer.pt").write_bytes(b"o" * 50)
    store.publish(written, step, {"tokens": step * 10})
    return store.folder / str(step)


@pytest.fixture
def store(tmp_path: Path) -> checkpoints.Store:
    """A folder that keeps two."""
    made = checkpoints.Store(tmp_path / "ckpt", 2)
    made.prepare()
    return made


def test_the_newest_is_resumed_and_only_some_are_kept(store: checkpoints.Store) -> None:
    """LATEST names the last one published; the oldest beyond `keep` is gone; our counters come back."""
    for step in (8, 9, 10):
        saved(store, step)
    assert store.newest() == store.folder / "10"
    assert (store.folder / "LATEST").read_text() == "10\n"
    assert sorted(path.name for path in store.folder.iterdir() if path.name.isdigit()) == ["10", "9"]
    assert checkpoints.progress(store.folder / "10") == {"tokens": 100}


@pytest.mark.parametrize("damage", ["shorter", "absent", "no manifest", "broken manifest"])
def test_a_damaged_checkpoint_is_passed_over(store: checkpoints.Store, damage: str) -> None:
    """The one before it is used instead."""
    saved(store, 1)
    newest = saved(store, 2)
    if damage == "shorter":
        (newest / "weights").write_bytes(b"w" * 99)
    elif damage == "absent":
        (newest / "optimizer.pt").unlink()
    elif damage == "no manifest":
        (newest / checkpoints.MANIFEST).unlink()
    else:
        (newest / checkpoints.MANIFEST).write_text("{")
    assert store.newest() == store.folder / "1"


def test_a_folder_not_yet_named_by_latest_is_unused(store: checkpoints.Store) -> None:
    """A process that died between the rename and LATEST has not published; publishing that step again works."""
    saved(store, 1)
    saved(store, 2)
    (store.folder / "LATEST").write_text("1\n")
    assert store.newest() == store.folder / "1"
    saved(store, 2)
    assert store.newest() == store.folder / "2"


def test_without_latest_the_newest_whole_one_is_used(store: checkpoints.Store) -> None:
    """A lost or garbled LATEST does not lose the run."""
    saved(store, 3)
    (store.folder / "LATEST").write_text("x")
    assert store.newest() == store.folder / "3"


def test_leftovers_of_an_interrupted_save_are_cleared(store: checkpoints.Store) -> None:
    """What the library was writing when it was killed is never mistaken for a checkpoint."""
    (store.partial / "checkpoint-5").mkdir()
    (store.partial / "checkpoint-5" / checkpoints.MANIFEST).write_text(json.dumps({}))
    assert store.newest() is None
    store.prepare()
    assert list(store.partial.iterdir()) == []


def test_a_save_that_fails_leaves_the_last_one_in_force(store: checkpoints.Store) -> None:
    """SaveFailed says which step; LATEST still names the one before."""
    saved(store, 1)
    with pytest.raises(SaveFailed, match="checkpoint 2 could not be saved"):
        store.publish(store.partial / "never-written", 2, {})
    assert store.newest() == store.folder / "1"


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """A file in the way of the folder is told as such."""
    (tmp_path / "ckpt").write_text("")
    with pytest.raises(SaveFailed, match="cannot write checkpoints"):
        checkpoints.Store(tmp_path / "ckpt", 2).prepare()
