"""Following a run: the last lines of its log, and an end to it where a start has died."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack
from cloudtrain.runs import follow
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin

Make = Callable[..., Plan]


class Unending(BaseException):
    """A command that looks again and again."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that has slept a thousand times would go on for ever."""
    import time

    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) > 1000:
            raise Unending

    monkeypatch.setattr(time, "sleep", nap)


@pytest.mark.parametrize("words", [("wait",), ("logs", "-f")])
def test_following_a_start_that_died_comes_to_an_end(
    store: LocalFolder, cloudtrain: Callable[..., Result], impatient: None, run_name: str, words: tuple[str, ...]
) -> None:
    """Its intent is there, its machine is not, and nobody holds its lock."""
    begin(store, run_name)
    try:
        cloudtrain(*words, run_name)
        ended = True
    except Unending:
        ended = False
    assert ended


def test_the_tail_of_a_long_line_reads_it_once(
    store: LocalFolder, local: Stack, plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four megabytes without an end of line."""
    run = Run(store, plan().run)
    begin(store, run.id)
    size = 4 << 20
    store.write(run.key(f"log/{0:016d}"), b"x" * size)
    read, counted = LocalFolder.read_from, []

    def count(*given: Any) -> bytes:
        data = read(*given)
        counted.append(len(data))
        return data

    monkeypatch.setattr(LocalFolder, "read_from", count)
    if follow.tail_offset(Run(store, run.id), 5) != 0:
        raise RuntimeError("the whole log is one line")
    assert size <= sum(counted) <= 2 * size
    assert max(counted) <= size // 2


@pytest.mark.parametrize("end", ["", "\n"])
def test_the_tail_begins_where_so_many_lines_begin(store: LocalFolder, local: Stack, plan: Make, end: str) -> None:
    """In a log of several chunks, with and without an end of its last line, over the edges of blocks."""
    run = Run(store, plan().run)
    begin(store, run.id)
    whole = ("\n".join(["a", "", "b" * 70, "c", "d"]) + end).encode()
    for start in range(0, len(whole), 7):
        store.write(run.key(f"log/{start:016d}"), whole[start : start + 7])
    pieces = whole.splitlines(keepends=True)
    expected = [len(whole) - sum(map(len, pieces[len(pieces) - n :])) for n in range(6)]
    assert [follow.tail_offset(run, n) for n in range(6)] == expected
    assert follow.tail_offset(run, 9) == 0


def test_an_endless_line_is_cut_the_next_is_whole() -> None:
    """A gigabyte without an end of line is not held."""
    cutter = follow.LineCutter()
    assert [cutter.feed(b"x" * (follow.LINE_BYTES // 2)) for _ in range(5)] == [[]] * 5
    first, second = cutter.feed(b"\nnext\nlast")
    assert (len(first), second, cutter.rest()) == (follow.LINE_BYTES, b"next", b"last")


def test_a_start_whose_client_holds_its_lock_is_starting(store: LocalFolder, local: Stack, run_name: str) -> None:
    """And died once nobody does."""
    begin(store, run_name)
    with store.hold(f"runs/{run_name}/client.lock"):
        assert Run(store, run_name).state == "starting"
    assert Run(store, run_name).state == "died"
