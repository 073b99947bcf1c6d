"""Runs on this machine: what the trainer gets to see, who may read its files, and runs that have lost their records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.plan import Plan
from cloudtrain.providers import Stack
from cloudtrain.runs import follow, launch
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


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="Trust, least rights: the trainer inherits the whole environment"
)
def test_a_trainer_on_this_machine_does_not_see_cloud_keys(
    store: LocalFolder, local: Stack, plan: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs code of packages and of model folders."""
    (tmp_path / "fake_trainer.py").write_text(TELLS)
    for name in SECRETS:
        monkeypatch.setenv(name, "PLANTED-SECRET")
    run = wait_for(launch.start(store, plan()), "finished")
    seen = json.loads((store.folder(run.machine_folder) / "seen.json").read_text())
    if "PATH" not in seen:
        raise RuntimeError(seen)
    assert set(SECRETS) & set(seen) == set()


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="Trust, least rights: job, log, heartbeat and output are 0644"
)
def test_the_files_of_a_run_are_its_owners_alone(store: LocalFolder, local: Stack, plan: Make) -> None:
    """Files 0600, folders 0700."""
    run = wait_for(launch.start(store, plan()), "finished")
    folder = store.folder(f"runs/{run.id}")
    open_ones = [str(path.relative_to(folder)) for path in [folder, *folder.rglob("*")] if path.stat().st_mode & 0o077]
    assert open_ones == []


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="Trust F9: a run without records is named by no command")
def test_sweep_names_a_local_run_that_has_lost_its_records(
    store: LocalFolder, local: Stack, plan: Make, knobs: Callable[..., None], cloudtrain: Callable[..., Result]
) -> None:
    """The state's folder is deleted while it runs."""
    knobs(steps=10_000)
    run = launch.start(store, plan())
    shutil.rmtree(store.root)
    listed = cloudtrain("sweep")
    assert run.id in listed.out + listed.err


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


@pytest.mark.parametrize("words", [("wait", "mine"), ("logs", "-f", "mine")])
@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="Trust F8: a start whose client died counts as starting for ever"
)
def test_following_a_start_that_died_comes_to_an_end(
    store: LocalFolder, cloudtrain: Callable[..., Result], impatient: None, words: tuple[str, ...]
) -> None:
    """Its intent is there, its machine is not, and nobody holds its lock."""
    begin(store, "mine")
    try:
        cloudtrain(*words)
        ended = True
    except Unending:
        ended = False
    assert ended


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="Trust F7: each step back through the log reads all of it again"
)
def test_the_last_lines_of_a_long_line_cost_its_length_once(
    store: LocalFolder, local: Stack, plan: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four megabytes without an end of line."""
    run = Run(store, plan().run)
    begin(store, run.id)
    size = 4 << 20
    store.write(run.key(f"log/{0:016d}"), b"x" * size)
    read, counted = follow.read_log, []

    def count(*given: Any) -> bytes:
        data = read(*given)
        counted.append(len(data))
        return data

    monkeypatch.setattr(follow, "read_log", count)
    if follow.tail_offset(Run(store, run.id), 5) != 0:
        raise RuntimeError("the whole log is one line")
    assert sum(counted) <= 2 * size
