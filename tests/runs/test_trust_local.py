"""Runs on this machine: what the trainer gets to see, who may read its files, and runs that have lost their records."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack
from cloudtrain.runs import follow, launch
from cloudtrain.runs import sweep as sweeps
from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin
from tests.runs.conftest import wait_for

Make = Callable[..., Plan]
SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "RUNPOD_API_KEY",
)
TELLS = """
import json, os, sys
from pathlib import Path
Path(sys.argv[1]).with_name("seen.json").write_text(json.dumps(sorted(os.environ)))
print(json.dumps({"event": "done", "time": 0.0, "steps": 0, "tokens": 0}), flush=True)
"""


def test_a_trainer_on_this_machine_does_not_see_cloud_keys(
    store: LocalFolder, local: Stack, plan: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs code of packages and of model folders."""
    (tmp_path / "fake_trainer.py").write_text(TELLS)
    for name in SECRETS:
        monkeypatch.setenv(name, "PLANTED-SECRET")
    run = wait_for(launch.start(store, plan()), "finished")
    seen = json.loads((store.folder(run.key("seen.json"))).read_text())
    if "PATH" not in seen:
        raise RuntimeError(seen)
    assert set(SECRETS) & set(seen) == set()


def test_the_files_of_a_run_are_its_owners_alone(store: LocalFolder, local: Stack, plan: Make) -> None:
    """Files 0600, folders 0700."""
    run = wait_for(launch.start(store, plan()), "finished")
    folder = store.folder(f"runs/{run.id}")
    open_ones = [str(path.relative_to(folder)) for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_ones == []


def test_sweep_names_a_local_run_that_has_lost_its_records(
    store: LocalFolder,
    local: Stack,
    plan: Make,
    knobs: Callable[..., None],
    cloudtrain: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state's folder is deleted while it runs, and nothing of it is in a state to notice."""
    monkeypatch.setattr(sweeps, "clouds", lambda wanted=(): {})
    knobs(steps=10_000)
    run = launch.start(store, plan())
    for owned in local.list_owned():
        if owned.run == run.id:
            os.kill(int(owned.id), signal.SIGSTOP)
    shutil.rmtree(store.root)
    listed = cloudtrain("sweep")
    assert run.id in listed.out + listed.err
    here = [found for found in sweeps.lost_here(()) for found in found.things if found.owned.run == run.id]
    assert sweeps.end_here("local", here) == []
    assert [owned for owned in local.list_owned() if owned.run == run.id] == []


def test_sweep_leaves_alone_what_has_its_records(
    store: LocalFolder, local: Stack, plan: Make, knobs: Callable[..., None]
) -> None:
    """Whatever state they are in."""
    knobs(steps=10_000)
    run = launch.start(store, plan())
    assert [one for found in sweeps.lost_here(()) for one in found.things if one.owned.run == run.id] == []


def test_a_trainer_keeps_what_is_no_key() -> None:
    """It works with it."""
    from cloudtrain.stacks import local as module

    kept = {"HF_TOKEN": "1", "TOKENIZERS_PARALLELISM": "1", "PATH": "1", "OMP_NUM_THREADS": "1", "HTTPS_PROXY": "1"}
    lost = {"GITHUB_TOKEN": "1", "DB_PASSWORD": "1", "OPENAI_API_KEY": "1", "ACTIONS_ID_TOKEN_REQUEST_URL": "1"}
    assert module.without_keys({**kept, **lost}) == kept


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


def test_the_last_lines_of_a_long_line_cost_its_length_once(
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


def test_a_line_without_end_is_cut_and_the_next_one_is_whole() -> None:
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
