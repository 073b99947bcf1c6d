"""4-bit weights that are kept: the same training from them, whatever happened to them meanwhile."""

from __future__ import annotations

import fcntl
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE_S
from tests.templates.conftest import Bench, Ended

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("kept")]
PIECE_BYTES = 30_000  # of 2 layers of 23 KB each, and an embedding of 6 MB


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    """A short QLoRA run that keeps its weights in a folder."""
    return {
        "method": "qlora",
        "max_steps": 4,
        "quantised": {"folder": str(folder), "piece_bytes": PIECE_BYTES, **more},
    }


def manifest(folder: Path) -> dict[str, Any]:
    """What the folder says of itself."""
    return dict(json.loads((folder / "manifest.json").read_text()))


def log(ended: Ended) -> list[str]:
    """What the trainer said of its 4-bit weights."""
    assert ended.code == 0, ended.stderr[-3000:]
    return [line for line in ended.stderr.splitlines() if line.startswith("4-bit weights: ")]


@pytest.fixture(scope="module")
def fresh(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run that keeps nothing."""
    return bench.train(tmp_path_factory.mktemp("fresh"), method="qlora", max_steps=4)


@pytest.fixture
def kept(bench: Bench, fresh: Ended, tmp_path: Path) -> Path:
    """The folder that a first run has left."""
    ended = bench.train(tmp_path / "first", **settings(tmp_path / "kept"))
    assert log(ended)[-1].startswith("4-bit weights: 14 matrices made, 0 taken over")
    assert ended.losses == fresh.losses
    assert manifest(tmp_path / "kept")["complete"]
    return tmp_path / "kept"


def test_kept_weights_train_to_the_very_losses(bench: Bench, kept: Path, fresh: Ended, tmp_path: Path) -> None:
    """They are loaded without the published ones, and every loss is that of a run that quantises."""
    ended = bench.train(tmp_path / "second", **settings(kept))
    assert log(ended) == [f"4-bit weights: taken from {len(manifest(kept)['pieces'])} pieces in {kept}"]
    assert ended.losses == fresh.losses
    adapter = json.loads((tmp_path / "second" / "output" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(bench.model)


def test_a_run_killed_while_quantising_goes_on_where_it_was(bench: Bench, fresh: Ended, tmp_path: Path) -> None:
    """SIGKILL after the first pieces: the next start makes only what they lack, and what is trained is the same."""
    folder = tmp_path / "kept"
    process = bench.start(bench.job(tmp_path / "killed", **settings(folder, piece_bytes=1)), stderr=None)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(folder.glob("piece-*"))) >= 3:
            process.send_signal(signal.SIGKILL)
    bench.wait(process, tmp_path / "killed")
    assert not manifest(folder)["complete"]
    had = len(manifest(folder)["pieces"])
    assert 0 < had < 14
    ended = bench.train(tmp_path / "again", **settings(folder))
    assert log(ended)[-1].startswith(f"4-bit weights: {14 - had} matrices made, {had} taken over")
    assert ended.losses == fresh.losses
    assert manifest(folder)["complete"]


def test_a_damaged_piece_is_made_again_and_said(bench: Bench, kept: Path, fresh: Ended, tmp_path: Path) -> None:
    """One changed byte: that piece's matrices are quantised, the others taken over."""
    first = kept / manifest(kept)["pieces"][0]["name"]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    ended = bench.train(tmp_path / "second", **settings(kept))
    assert log(ended)[0] == f"4-bit weights: {first.name} is damaged, and what it held is made anew"
    made, taken = (int(word) for word in log(ended)[-1].split() if word.isdigit())
    assert (made > 0, taken > 0, made + taken) == (True, True, 14)
    assert ended.losses == fresh.losses
    assert log(bench.train(tmp_path / "third", **settings(kept)))[-1].startswith("4-bit weights: taken from")


@pytest.mark.parametrize("what", ["another model", "no list", "a path", "nothing in it"])
def test_a_foreign_manifest_is_not_believed(bench: Bench, kept: Path, fresh: Ended, tmp_path: Path, what: str) -> None:
    """Weights of another model, or a manifest that nobody of ours wrote: made anew, and the same losses."""
    document = manifest(kept)
    if what == "another model":
        document["key"]["model"] = "another"
    elif what == "no list":
        document["pieces"] = {"0": "piece-00000.safetensors"}
    elif what == "a path":
        outside = tmp_path / "outside.safetensors"
        outside.write_bytes((kept / document["pieces"][0]["name"]).read_bytes())
        document["pieces"][0]["name"] = "../outside.safetensors"
    else:
        document["pieces"] = []
    (kept / "manifest.json").write_text(json.dumps(document))
    ended = bench.train(tmp_path / "second", **settings(kept))
    assert "made, " in log(ended)[-1]
    assert "taken from" not in log(ended)[-1]
    assert ended.losses == fresh.losses
    assert manifest(kept)["complete"]


def test_a_folder_that_another_run_writes_is_left_alone(bench: Bench, fresh: Ended, tmp_path: Path) -> None:
    """Two runs of one model at a time: the second quantises for itself and keeps nothing."""
    folder = tmp_path / "kept"
    folder.mkdir()
    with (folder / ".lock").open("w") as claimed:
        fcntl.flock(claimed, fcntl.LOCK_EX)
        ended = bench.train(tmp_path / "second", **settings(folder))
    assert log(ended) == ["4-bit weights: made for this run alone"]
    assert ended.losses == fresh.losses
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_disk_that_takes_nothing_costs_no_run(bench: Bench, fresh: Ended, tmp_path: Path) -> None:
    """Where the folder cannot be made, the run goes on as if nothing was to be kept."""
    (tmp_path / "file").write_text("")
    ended = bench.train(tmp_path / "second", **settings(tmp_path / "file" / "kept"))
    assert log(ended)[0].startswith("4-bit weights: not kept: ")
    assert ended.losses == fresh.losses
