"""Free space on this machine against what a run writes here: one sentence before anything is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from cloudtrain.quote.machine.disk import GB, Parts
from cloudtrain.runs.client import room
from cloudtrain.trainer import environment
from tests.conftest import Result

ROW = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]})
PARTS = Parts(5 * GB, 16 * GB, 0, 3 * GB, GB, 0)
MODEL = registry.find("qwen3-8b")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Pretend that every disk has so many GB free."""

    def pretend(gb: float) -> None:
        monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: SimpleNamespace(free=int(gb * GB)))

    return pretend


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing was made or fetched before."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def sizes(model: Any = MODEL, resumed: bool = False) -> dict[str, int]:
    """What a run would write, by its name."""
    return {each.what: each.bytes for each in room.written(PARTS, model, "cpu", Path("runs"), resumed)}


def test_everything_that_is_not_here_is_written(bare: Path) -> None:
    """Packages, weights, checkpoints and result."""
    assert sizes() == {"packages": 5 * GB, "weights": 16 * GB, "checkpoints and result": 4 * GB}


def test_what_is_here_is_not_written_again(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that was made, weights that were fetched, the checkpoints of a run that is resumed."""
    snapshot = bare / "hub" / "models--Qwen--Qwen3-8B" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert "weights" in sizes()
    (snapshot / "model.safetensors").write_bytes(b"x")
    assert "weights" not in sizes()
    monkeypatch.setattr(environment, "find", lambda flavour: Path("python"))
    assert sizes(resumed=True) == {}


def test_disks_are_added_up_each_by_itself(
    bare: Path, free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 GB do not go onto 20 GB, and do onto two disks of 20 GB."""
    free(20)
    items = room.written(PARTS, MODEL, "cpu", bare / "runs", resumed=False)
    with pytest.raises(UsageError, match=r"writes 25\.0 GB to a disk that has 20\.0 GB free: packages 5\.0 GB in "):
        room.check(items)
    (bare / "hub").mkdir()
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **more: SimpleNamespace(st_dev=2 if self.name == "hub" else 1))
    assert real is not Path.stat
    room.check(items)


def test_up_says_what_is_missing_before_anything_is_made(
    bare: Path,
    free: Callable[[float], None],
    cloudtrain: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit 2 with the sizes and the folders; no package is installed, no run begun."""
    monkeypatch.chdir(bare)
    monkeypatch.setattr(environment, "ensure", lambda *_: pytest.fail("an environment was made"))
    (bare / "data.jsonl").write_text((ROW + "\n") * 10)
    (bare / "cloudtrain.yaml").write_text("model: HuggingFaceTB/SmolLM2-135M-Instruct\ndata: data.jsonl\n")
    free(3)
    ended = cloudtrain("up", "-y", "--infra", "local")
    assert ended.code == 2, ended.err
    assert "to a disk that has 3.0 GB free: packages 5.5 GB in " in ended.err
    assert "CLOUDTRAIN_CACHE" in ended.err
    assert "plan" not in ended.err
    assert cloudtrain("ps", "-a", "-o", "json").out.strip() == "[]"
