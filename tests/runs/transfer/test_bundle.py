"""The bundle: the same bytes for the same input, whatever this machine and this moment are like; and what is in it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.plan import Plan
from cloudtrain.runs.transfer import bundle
from cloudtrain.state.store import LocalFolder


def plan(folder: Path, **changes: Any) -> Plan:
    """A plan with data in a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text('{"text": "a"}\n')
    job = {
        "run": "r",
        "model": "org/name",
        "data": {"path": str(folder / "rows.jsonl"), "eval_path": None, "format": None},
        "checkpoint": {"every_s": 300.0, "keep": 2, "folder": str(folder / "ckpt")},
        "output": str(folder / "output"),
        "deadline": 1.0,
        "grace_s": 60.0,
        "accelerator": "cpu",
        **changes,
    }
    return Plan("r", "i", "x", "cpu", {}, job, "model: m\n", "0", 1.0, "test", (), 1.0)


def packed(given: Plan) -> bytes:
    """The archive."""
    file = io.BytesIO()
    bundle.write(given, file)
    return file.getvalue()


def content(data: bytes) -> dict[str, bytes]:
    """Name -> bytes of an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def test_it_is_the_same_from_another_folder_at_another_time(tmp_path: Path) -> None:
    """Neither paths nor times nor the run's name are in it."""
    first = packed(plan(tmp_path / "a"))
    other = plan(tmp_path / "b", run="another", deadline=2.0)
    os.utime(tmp_path / "b" / "rows.jsonl", (1, 1))
    assert packed(other) == first
    assert str(tmp_path).encode() not in b"".join(content(first).values())


def test_it_is_another_one_for_another_row(tmp_path: Path) -> None:
    """One byte suffices."""
    given = plan(tmp_path / "a")
    first = packed(given)
    (tmp_path / "a" / "rows.jsonl").write_text('{"text": "b"}\n')
    assert packed(given) != first


def test_it_holds_what_the_machine_needs(tmp_path: Path) -> None:
    """Agent, supervisor, trainer with its locks, data, job with paths inside, flavour."""
    found = content(packed(plan(tmp_path / "a")))
    for name in (
        "machine/agent.py",
        "supervisor/supervisor.py",
        "torch/train.py",
        "torch/requirements.lock",
        "torch/backend.json",
        "common/rows/__init__.py",
        "common/rows/source.py",
    ):
        assert name in found
    assert found["data/train.jsonl"] == b'{"text": "a"}\n'
    job = json.loads(found["job.json"])
    assert job["data"]["path"] == "data/train.jsonl"
    assert not {"run", "deadline", "output"} & set(job)
    assert json.loads(found["bundle.json"]) == {"version": 1, "backend": "torch", "flavour": "cpu"}
    assert not [
        name for name in found if name.startswith(("torch/quote/", "verify/", "image/")) or name.endswith(".in")
    ]


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("my rows.v2.jsonl", "data/train.jsonl"),
        ("a.jsonl.gz", "data/train.jsonl.gz"),
        ("a.csv.gz", "data/train.csv.gz"),
        ("a.TSV", "data/train.TSV"),
        ("a.parquet", "data/train.parquet"),
        ("a", "data/train"),
        ("a. b/c".replace("/", "-"), "data/train"),
    ],
)
def test_the_name_of_the_data_says_its_kind_alone(tmp_path: Path, name: str, inside: str) -> None:
    """The reader goes by it on the machine too."""
    found = bundle.data_files({"data": {"path": str(tmp_path / name), "eval_path": None}})
    assert found == {inside: tmp_path / name}


def test_it_is_uploaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time its name says that it is there."""
    store = LocalFolder(tmp_path / "state")
    first = bundle.ship(store, plan(tmp_path / "a"))
    monkeypatch.setattr(bundle, "upload", lambda *_: pytest.fail("uploaded twice"))
    assert bundle.ship(store, plan(tmp_path / "a")) == first
    assert first.key == f"bundles/{first.sha256}.tar.gz"


def test_data_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence, before anything is written."""
    monkeypatch.setattr(bundle, "LARGEST_DATA_BYTES", 4)
    with pytest.raises(UsageError, match="a bundle takes"):
        packed(plan(tmp_path / "a"))
