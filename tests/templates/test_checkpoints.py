"""Checkpoints: whole or absent, newest first, an older one when the newest is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
from failures import SaveFailed
from hypothesis import given
from hypothesis import strategies as st
from job import Checkpoint

from cloudtrain.estimate.options import Method
from cloudtrain.models import registry
from cloudtrain.quote.machine.disk import saved_bytes
from cloudtrain.quote.request import Request
from cloudtrain.quote.sampling import times


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


class SlowDisk:
    """A training of steps and saves on a clock of its own; saving takes `save_s` seconds."""

    def __init__(self, step_s: float, save_s: float, save_bytes: int) -> None:
        self.now = 1000.0
        self.step_s, self.save_s = step_s, save_s
        self.pace = checkpoints.Pace(times.CHECKPOINT_EVERY_S, lambda: self.now)
        self.now += 5000.0  # the model is loaded
        self.pace.start(save_bytes)

    def saves(self, steps: int) -> list[float]:
        """Seconds of training between all saves of that many steps."""
        found, trained = [], 0.0
        for _ in range(steps):
            self.now += self.step_s
            trained += self.step_s
            if self.pace.is_due():
                self.pace.begin()
                self.now += self.save_s
                assert self.pace.end() == pytest.approx(self.save_s)
                found.append(trained)
                trained = 0.0
        return found


def test_a_slow_save_is_followed_by_twenty_times_training() -> None:
    """Counted from the save's end, also where a save takes longer than the interval that was asked for."""
    assert SlowDisk(1, 400, 3 * 10**9).saves(20_000) == [300, 8000, 8000]
    assert SlowDisk(1, 2, 3 * 10**9).saves(1000) == [300, 300, 300]


def test_the_first_save_waits_by_its_size() -> None:
    """Before a save has shown how slow the disk is: a fine-tune of 560 B parameters would save for hours at once."""
    assert SlowDisk(60, 6720, 6 * 560_000_000_000).saves(290) == []


def test_asked_for_nothing_every_step_is_saved() -> None:
    """Zero seconds between saves mean what they say, however slow the disk."""
    pace = checkpoints.Pace(0.0, iter(range(0, 10_000, 1000)).__next__)
    pace.begin()
    pace.end()
    assert pace.is_due()


@pytest.mark.parametrize("slower", [1, 3, 40, 5000])
@pytest.mark.parametrize("method", ["full", "freeze", "lora"])
def test_quote_and_trainer_agree_on_a_slow_disk(method: Method, slower: int) -> None:
    """As many saves in a run of a tiny model, whose disk is as fast as assumed or slower by a factor."""
    request = Request(spec=registry.find("smollm2-135m"), method=method)
    trained = {"full": request.spec.params_total, "freeze": 40_000_000, "lora": 5_000_000}[method]
    save_bytes, _ = saved_bytes(request, trained, (2, 4 if method == "lora" else 2))
    assumed = save_bytes / times.ASSUMED_BYTES_PER_S
    assert checkpoints.assumed_save_s(save_bytes) == pytest.approx(assumed)
    for hours in (0.05, 0.5, 5, 50):
        disk = SlowDisk(1.0, slower * assumed, save_bytes)
        made = disk.saves(int(hours * 3600))
        quoted = times.saves(hours * 3600, slower * assumed, assumed)
        assert abs(len(made) - quoted) <= 1 + quoted // 100  # a step is not cut for a save
        assert quoted * slower * assumed <= hours * 3600 / times.TRAINED_PER_SAVED + slower * assumed


@given(st.floats(0, 1e6))
def test_quote_and_trainer_have_one_rule(save_s: float) -> None:
    """The trainer knows nothing of the quote's code, so the formula stands in both."""
    assert times.interval_s(save_s) == checkpoints.interval_s(times.CHECKPOINT_EVERY_S, save_s)
    assert checkpoints.ASSUMED_BYTES_PER_S == times.ASSUMED_BYTES_PER_S
    assert Checkpoint("/folder").every_s == times.CHECKPOINT_EVERY_S
