"""Reading a rented run's log: every byte once, from any offset, and nothing behind a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudtrain.runs import follow
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.records import begin

WHOLE = bytes(range(256)) * 40


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A rented run with a log in chunks of many sizes."""
    store = LocalFolder(tmp_path)
    made = Run(store, "mine")
    begin(store, "mine", provider="aws", deadline=0.0)
    start = 0
    for number in range(1, 100):
        data = WHOLE[start : start + 3 * number]
        if data:
            store.write(f"runs/mine/machine/log/{start:016d}", data)
        start += len(data)
    return made


@pytest.mark.parametrize("offset", [0, 1, 3, 1000, len(WHOLE) - 1, len(WHOLE)])
def test_the_log_is_read_whole_from_any_byte(run: Run, offset: int) -> None:
    """Also from the middle of a chunk, also to a given end."""
    assert b"".join(follow.blocks(run, offset)) == WHOLE[offset:]
    assert b"".join(follow.blocks(run, offset, offset + 500)) == WHOLE[offset : offset + 500]


def test_nothing_is_read_behind_a_gap(run: Run) -> None:
    """A chunk that is missing ends the log: the bytes after it would be in a wrong place."""
    names = run.store.children("runs/mine/machine/log")
    run.store.delete(f"runs/mine/machine/log/{names[7]}")
    assert b"".join(follow.blocks(run, 0)) == WHOLE[: int(names[7])]


def test_the_last_lines_are_found(run: Run) -> None:
    """As they are for a log on this machine."""
    assert follow.tail_offset(run, 3) == len(WHOLE) - len(b"\n".join(WHOLE.split(b"\n")[-3:]))
