"""A file that is larger than a form may be travels in pieces, to the state, home, and to the next machine."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.results import pull
from cloudtrain.runs.transfer import multipart, ticket
from cloudtrain.signing import urls
from cloudtrain.simulator.gcp.storage import GcsCloud
from cloudtrain.state.bucket import ObjectFolder

STATE = "gs://bucket-state/team"
LARGE = bytes(range(250)) * 10


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectFolder]:
    """A bucket of a strict fake."""
    cloud = GcsCloud()
    cloud.make_bucket("bucket-state")
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield ObjectFolder(STATE)
    cloud.stop()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What a machine runs, with forms of at most 1000 bytes: its modules `bucket` and `shipping`."""
    monkeypatch.syspath_prepend(str(files("cloudtrain.templates").joinpath("machine")))
    names = ("bucket", "shipping")
    made = {name: importlib.import_module(name) for name in names}
    made["bucket"].PART_BYTES = 1000
    yield type("Machine", (), made)
    for name in names:
        del sys.modules[name]


@pytest.fixture
def shipped(store: ObjectFolder, machine: Any, tmp_path: Path) -> ObjectFolder:
    """A checkpoint with a large file, one that is exactly as large as a form, and a small one."""
    folder = tmp_path / "from"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "optimizer.pt").write_bytes(LARGE)
    (folder / "exact").write_bytes(LARGE[:1000])
    (folder / "small").write_bytes(b"{}")
    now = time.time()
    mailbox = machine.bucket.Mailbox(urls.post_policy(STATE, "runs/r/", now, now + 60), now + 60)
    assert machine.shipping.ship_folder(mailbox, str(folder), "ckpt/7")
    return store


def test_only_what_is_too_large_is_cut(shipped: ObjectFolder) -> None:
    """Three pieces and their count; the others as they are."""
    found = multipart.whole_files(shipped, "runs/r/ckpt/7")
    assert sorted(found) == ["exact", "small", "sub/optimizer.pt"]
    assert [shipped.size(key) for key in found["sub/optimizer.pt"]] == [1000, 1000, 500]
    assert found["exact"] == ["runs/r/ckpt/7/exact"]
    index = shipped.read("runs/r/ckpt/7/sub/optimizer.pt.parts")
    assert index is not None
    assert json.loads(index) == {"parts": 3, "bytes": 2500}


def test_it_is_whole_again_at_home(shipped: ObjectFolder, tmp_path: Path) -> None:
    """Byte for byte."""
    pull.copy(shipped, multipart.whole_files(shipped, "runs/r/ckpt/7")["sub/optimizer.pt"], tmp_path / "home")
    assert (tmp_path / "home").read_bytes() == LARGE


@pytest.mark.parametrize("had", [0, 1, 999, 1000, 1001, 2000, 2499])
def test_the_next_machine_goes_on_where_it_was_cut(
    shipped: ObjectFolder, machine: Any, tmp_path: Path, had: int
) -> None:
    """From any byte that lies there already."""

    def url(key: str) -> str:
        return urls.get_url(STATE, key, time.time(), 60.0)

    found = multipart.whole_files(shipped, "runs/r/ckpt/7")
    wanted = [ticket.entry(shipped, path, keys, url).model_dump(exclude_unset=True) for path, keys in found.items()]
    target = tmp_path / "to" / "sub" / "optimizer.pt"
    target.parent.mkdir(parents=True)
    (target.parent / "optimizer.pt.part").write_bytes(LARGE[:had])
    machine.bucket.Download(str(tmp_path / "to"), wanted, lambda: None).run()
    assert target.read_bytes() == LARGE
    assert (tmp_path / "to" / "small").read_bytes() == b"{}"


def test_a_missing_piece_is_told_and_never_a_shorter_file(shipped: ObjectFolder) -> None:
    """Never a shorter file."""
    shipped.delete("runs/r/ckpt/7/sub/optimizer.pt.part-00001")
    with pytest.raises(UsageError, match=r"part-00001. is missing"):
        multipart.whole_files(shipped, "runs/r/ckpt/7")
    shipped.delete("runs/r/ckpt/7/sub/optimizer.pt.parts")
    assert sorted(multipart.whole_files(shipped, "runs/r/ckpt/7")) == ["exact", "small"]
