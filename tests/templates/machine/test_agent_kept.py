"""4-bit weights that a machine keeps beside its run, and its successor fetches: the agent with a fake trainer."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import TRAINER
from tests.patience import until
from tests.templates.machine.agent_world import Machine, Mailbox, bundle

pytestmark = pytest.mark.machine

# Before its steps: what is there is counted, what is missing of three pieces is written, each with its manifest.
KEEPS = """
import hashlib, json, sys
from pathlib import Path
_job = json.loads(Path(sys.argv[1]).read_text())
_place, _model = _job["quantised"], Path(_job["model"])
_folder = Path(_place["folder"]); _folder.mkdir(exist_ok=True)
_read = lambda: json.loads((_folder / "manifest.json").read_text()) if (_folder / "manifest.json").exists() else {"pieces": []}
print(json.dumps({"event": "found", "pieces": len(_read()["pieces"]), "fetched": _place["fetched"], "model": _place["model"],
                  "weights": (_model / "model.safetensors").exists()}), flush=True)
for number in range(3):
    name, pieces = f"piece-{number:05d}.safetensors", _read()["pieces"]
    if name in [each["name"] for each in pieces]:
        continue
    data = str(number).encode() * 1000
    (_folder / name).write_bytes(data)
    pieces.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    whole = {"version": 1, "key": {"model": "m"}, "complete": len(pieces) == 3, "pieces": pieces}
    (_folder / ".manifest").write_text(json.dumps(whole)); (_folder / ".manifest").replace(_folder / "manifest.json")
"""
AGREES = "import sys; sys.exit(0)"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.server.shutdown()
    made.server.server_close()


def a_machine(folder: Path, box: Mailbox, check: str = AGREES, **kept: Any) -> Machine:
    """A machine whose ticket keeps weights, with a model in the state."""
    made = Machine(folder, box)
    made.make_environment()
    made.give(with_file(bundle(KEEPS + TRAINER), "torch/check_kept.py", check))
    made.ticket["quantised"] = {"most_bytes": 10_000, "piece_bytes": 1, "weights": "w", **kept}
    files = [
        {"path": name, **box.put(f"state/models/m/{name}", data)}
        for name, data in {"config.json": b"{}", "model.safetensors": b"bf16" * 100}.items()
    ]
    made.ticket["model"] = {"folder": "m", "files": files}
    return made


def with_file(packed: bytes, name: str, text: str) -> bytes:
    """A bundle with one more file."""
    made = io.BytesIO(gzip.decompress(packed))
    with tarfile.open(fileobj=made, mode="a") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(made.getvalue())


def left(box: Mailbox) -> dict[str, Any]:
    """What the next ticket offers of what lies in the bucket."""
    manifest = box.document("quantised/manifest.json")
    url = f"{box.url}/state/runs/r/quantised"
    files = [{"path": each["name"], "url": f"{url}/{each['name']}", **each} for each in manifest["pieces"]]
    return {"manifest": manifest, "files": files}


def found(box: Mailbox) -> dict[str, Any]:
    """What the trainer found at its start."""
    return dict(json.loads(box.log().splitlines()[0]))


def run(machine: Machine, **more: str) -> None:
    """To its end."""
    try:
        machine.start(**more)
        assert machine.ends() == 0
    finally:
        machine.off()


@pytest.fixture
def first(tmp_path: Path, box: Mailbox) -> Mailbox:
    """The bucket after a machine that was taken away when its weights were kept."""
    machine = a_machine(tmp_path / "first", box)
    try:
        machine.start(FAKE_TRAINER=json.dumps({"steps": 10_000}))
        until(lambda: (box.document("quantised/manifest.json") or {}).get("complete"))
    finally:
        machine.off()
    return box


def unfounded(box: Mailbox) -> list[str]:
    """Pieces that the manifest names and that are not there as it says."""
    hashes = {
        each["name"]: (hashlib.sha256(box.get(f"quantised/{each['name']}") or b"").hexdigest(), each["sha256"])
        for each in (box.document("quantised/manifest.json") or {"pieces": []})["pieces"]
    }
    return [name for name, (found, said) in hashes.items() if found != said]


def test_each_piece_is_there_before_the_manifest_that_names_it(tmp_path: Path, box: Mailbox) -> None:
    """Looked at whenever something arrives; at the end all of them, with the key that the trainer gave them."""
    too_early: list[str] = []
    box.arrived = lambda name: too_early.extend(unfounded(box))
    machine = a_machine(tmp_path, box)
    try:
        machine.start(FAKE_TRAINER=json.dumps({"steps": 10_000}))
        until(lambda: (box.document("quantised/manifest.json") or {}).get("complete"))
    finally:
        machine.off()
    manifest = box.document("quantised/manifest.json")
    assert (len(manifest["pieces"]), manifest["key"]) == (3, {"model": "m"})
    assert too_early == unfounded(box) == []


def next_log(box: Mailbox) -> None:
    """The log begins again, so that it can be told from the first machine's."""
    for name in [name for name in box.objects if "/log/" in name or name.endswith(("exit.json", "LATEST"))]:
        del box.objects[name]
    box.order.clear()


def test_a_successor_fetches_them_instead_of_the_weights(first: Mailbox, tmp_path: Path) -> None:
    """The model's configuration comes, its bf16 weights do not, and nothing is sent again."""
    next_log(first)
    run(a_machine(tmp_path / "second", first, **left(first)))
    assert found(first) == {"event": "found", "pieces": 3, "fetched": True, "model": "w", "weights": False}
    assert first.document("exit.json")["reason"] == "done"
    assert not [name for name in first.order if name.startswith("quantised/piece")]


def test_the_weights_come_where_the_trainer_would_not_use_them(first: Mailbox, tmp_path: Path) -> None:
    """Its own program says so: they belong to another model, type or version."""
    next_log(first)
    run(a_machine(tmp_path / "second", first, "import sys; sys.exit(1)", **left(first)))
    assert found(first)["weights"]
    assert first.document("exit.json")["reason"] == "done"


def test_a_damaged_piece_is_left_out_and_made_again(first: Mailbox, tmp_path: Path) -> None:
    """The others are used; the published weights come too, because some of them are needed."""
    next_log(first)
    offered = left(first)
    first.objects["state/runs/r/quantised/piece-00001.safetensors"] = b"9" * 1000
    machine = a_machine(tmp_path / "second", first, **offered)
    try:
        machine.start(FAKE_TRAINER=json.dumps({"steps": 10_000}))
        until(lambda: first.get("quantised/piece-00001.safetensors") == b"1" * 1000)
        until(lambda: first.document("quantised/manifest.json")["complete"])
        until(first.log)
    finally:
        machine.off()
    assert found(first) == {"event": "found", "pieces": 2, "fetched": False, "model": "w", "weights": True}
    assert [name for name in first.order if name.startswith("quantised/piece")] == ["quantised/piece-00001.safetensors"]


def test_no_more_is_sent_than_was_planned(tmp_path: Path, box: Mailbox) -> None:
    """Weights that are larger than the plan says stay on the machine."""
    run(a_machine(tmp_path, box, most_bytes=2500))
    assert len([name for name in box.order if name.startswith("quantised/piece")]) <= 2
    assert not (box.document("quantised/manifest.json") or {}).get("complete")


def test_without_a_word_in_the_ticket_nothing_is_kept(tmp_path: Path, box: Mailbox) -> None:
    """Neither does the trainer hear of a folder, nor is one sent."""
    machine = a_machine(tmp_path, box)
    machine.ticket["quantised"] = None
    machine.give(bundle())
    run(machine)
    assert not [name for name in box.order if name.startswith("quantised/")]
    assert "quantised" not in json.loads((machine.place() / "run" / "job.json").read_text())
