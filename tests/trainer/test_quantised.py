"""4-bit weights that are kept on this machine: for which jobs, where, and for how long."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.trainer import quantised

JOB: dict[str, Any] = {"model": "org/name", "revision": None}
DAY = 86400.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_job_gets_a_folder_of_its_model_and_revision(cache: Path) -> None:
    """The same for the same, another for another commit."""
    first = quantised.kept(JOB, 400, 10**6)["quantised"]["folder"]
    assert Path(first).parent == cache / "quantised"
    assert Path(first).name.startswith("name-")
    assert quantised.kept({**JOB, "lr": 1}, 400, 10**6)["quantised"]["folder"] == first
    assert quantised.kept({**JOB, "revision": "abc"}, 400, 10**6)["quantised"]["folder"] != first
    assert quantised.kept({**JOB, "model": "../.."}, 400, 10**6)["quantised"]["folder"].startswith(str(cache))


def test_what_is_made_within_a_minute_is_not_kept() -> None:
    """A small model leaves nothing behind."""
    assert quantised.kept(JOB, 59, 10**6) == JOB


def test_a_disk_without_room_keeps_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice their size has to be free; those that are there are used all the same."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=199))
    assert quantised.kept(JOB, 400, 100) == JOB
    assert "quantised" in quantised.kept(JOB, 400, 99)
    quantised.folder_of(JOB).mkdir(parents=True)
    assert "quantised" in quantised.kept(JOB, 400, 100)


def test_what_no_run_has_opened_for_a_month_is_deleted(cache: Path) -> None:
    """The others stay, and so does what is not of ours."""
    now = 100 * DAY
    for name, opened in (("old", now - 31 * DAY), ("new", now - 29 * DAY)):
        folder = quantised.root() / name
        folder.mkdir(parents=True)
        (folder / "piece-00000.safetensors").write_bytes(b"x" * 10)
        (folder / ".lock").touch()
        os.utime(folder / ".lock", (opened, opened))
    (quantised.root() / "elses").mkdir()
    assert quantised.size_bytes() == 20
    quantised.forget_unused(now)
    assert sorted(path.name for path in quantised.root().iterdir()) == ["elses", "new"]


def test_without_any_there_is_nothing_to_delete() -> None:
    """A cache that is not there yet."""
    quantised.forget_unused(0.0)
    assert quantised.size_bytes() == 0
