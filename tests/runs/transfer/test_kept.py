"""4-bit weights beside a run, as the next machine's ticket offers them: a claim of the machine that wrote them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.records import RowRecord
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import kept
from tests.records import row
from tests.runs.transfer.test_ticket import InBucket, issued

__all__ = ["issued"]
FOLDER = "runs/r/machine/quantised"
PLANNED = 10**9
LINE = row(market="spot", provider="aws", disk_parts_bytes={"quantised": PLANNED})
Issue = Callable[..., dict[str, Any]]


def piece(number: int, size: int) -> dict[str, Any]:
    """What a manifest says of a piece."""
    return {"name": f"piece-{number:05d}.safetensors", "bytes": size, "sha256": f"{number:064x}"}


def leave(store: InBucket, *sizes: int, **changes: Any) -> None:
    """What a machine leaves: pieces of these sizes and a manifest of them, with changes."""
    pieces = [piece(number, size) for number, size in enumerate(sizes)]
    for each in pieces:
        store.write(f"{FOLDER}/{each['name']}", b"x" * min(each["bytes"], 1000))
    document = {"version": 1, "key": {"model": "m"}, "complete": True, "pieces": pieces, **changes}
    store.write(f"{FOLDER}/manifest.json", json.dumps(document).encode())


def events(store: InBucket) -> list[str]:
    """What was said of it in the run's events."""
    lines = (store.read("runs/r/events.jsonl") or b"").splitlines()
    return [f"{found['event']}: {found['message']}" for found in map(json.loads, lines)]


def test_the_first_machine_may_keep_as_much_as_is_planned(issued: Issue) -> None:
    """Nothing to fetch yet, a bound on what is written, and pieces so large that there are at most 200."""
    found = issued(line=LINE)["quantised"]
    assert found == {"most_bytes": int(1.25 * PLANNED) + 10**9, "piece_bytes": 1 << 30, "weights": None} | {
        name: found[name] for name in ("manifest", "files") if name in found
    }
    assert not found.get("manifest")
    longcat = row(market="spot", provider="aws", disk_parts_bytes={"quantised": 292 * 10**9})
    assert issued(line=longcat)["quantised"]["piece_bytes"] == 292 * 10**9 // 200


@pytest.mark.parametrize(
    "line",
    [
        row(market="on_demand", provider="aws", disk_parts_bytes={"quantised": PLANNED}),
        row(market="spot", provider="aws", disk_parts_bytes={"quantised": 0}),
        row(market="spot", provider="aws"),  # of an older version
        row(market="spot", provider="gcp", disk_parts_bytes={"quantised": PLANNED}),  # its bytes would leave the cloud
        row(market="spot", provider="runpod", disk_parts_bytes={"quantised": PLANNED}),
    ],
)
def test_nothing_is_kept_where_it_does_not_pay(issued: Issue, line: RowRecord) -> None:
    """A machine that is not taken away, a model that is made in seconds, a bucket of another cloud."""
    leave(issued.store, 100)  # type: ignore[attr-defined]
    assert issued(line=line)["quantised"] is None


def test_the_next_machine_is_sent_to_what_is_there(issued: Issue) -> None:
    """One signed address a piece, with its size and the hash that the manifest claims."""
    leave(issued.store, 100, 200)  # type: ignore[attr-defined]
    found = issued(line=LINE)["quantised"]
    assert found["manifest"]["complete"]
    assert found["manifest"]["key"] == {"model": "m"}
    assert [(each["path"], each["bytes"], each["sha256"]) for each in found["files"]] == [
        ("piece-00000.safetensors", 100, f"{0:064x}"),
        ("piece-00001.safetensors", 200, f"{1:064x}"),
    ]
    for each in found["files"]:
        assert f"/team/{FOLDER}/{each['path']}?" in each["url"]
        assert "X-Amz-Signature" in each["url"]


def test_a_piece_of_another_size_makes_it_incomplete(issued: Issue) -> None:
    """What is whole is offered, the rest is made again."""
    store: InBucket = issued.store  # type: ignore[attr-defined]
    leave(store, 100, 200)
    store.write(f"{FOLDER}/piece-00000.safetensors", b"short")
    found = issued(line=LINE)["quantised"]
    assert [each["path"] for each in found["files"]] == ["piece-00001.safetensors"]
    assert not found["manifest"]["complete"]
    assert events(store) == ["4-bit weights incomplete: 1 pieces are not as listed"]


@pytest.mark.parametrize(
    "changes",
    [
        {"pieces": [piece(0, 10**12)]},  # beyond the plan
        {"pieces": [piece(number, 100) for number in range(1001)]},
        {"pieces": [piece(0, 100), piece(0, 100)]},
        {"pieces": [{**piece(0, 100), "name": "../../../tickets/1.json"}]},
        {"pieces": [{**piece(0, 100), "name": "piece-00000.safetensors/../../exit.json"}]},
        {"pieces": [{**piece(0, 100), "bytes": -1}]},
        {"pieces": [{**piece(0, 100), "sha256": "0"}]},
        {"pieces": {"0": piece(0, 100)}},
        {"pieces": None},
        {"key": "x" * 70_000},
        {"key": []},
        {"complete": "yes"},
    ],
)
def test_a_manifest_that_none_of_ours_wrote_is_not_used(issued: Issue, changes: dict[str, Any]) -> None:
    """The ticket is issued without it, and the run's events say why; no other key is ever signed."""
    store: InBucket = issued.store  # type: ignore[attr-defined]
    leave(store, 100, **changes)
    document = issued(line=LINE)
    found = document["quantised"]
    assert not found.get("manifest")
    assert not found.get("files")
    assert "quantised/" not in json.dumps(document)
    (said,) = events(store)
    assert said.startswith("4-bit weights not used: ")


def test_a_manifest_of_no_json_is_not_used(issued: Issue) -> None:
    """Any bytes at all."""
    store: InBucket = issued.store  # type: ignore[attr-defined]
    store.write(f"{FOLDER}/manifest.json", b"\xff\x00[")
    assert not issued(line=LINE)["quantised"].get("files")


def test_the_model_s_files_in_the_state_are_named(issued: Issue) -> None:
    """Other files of the same model make other 4-bit weights: the word changes with their sizes."""
    store: InBucket = issued.store  # type: ignore[attr-defined]
    words = []
    for size in (10, 20):
        store.write("models/org--name/config.json", b"{}" * size)
        store.write("models/org--name/model.safetensors", b"x" * 10)
        words.append(issued(line=LINE)["quantised"]["weights"])
    store.write("models/org--name/model.safetensors", b"x" * 11)
    words.append(issued(line=LINE)["quantised"]["weights"])
    assert words[0] == words[1] != words[2]
    assert words[0].startswith("org--name@")


def test_they_are_deleted_with_nothing_beside_them(tmp_path: Path) -> None:
    """The checkpoint and the result stay."""
    store = InBucket(tmp_path)
    leave(store, 100)
    store.write("runs/r/machine/output/adapter_config.json", b"{}")
    kept.forget(Run(store, "r"))
    assert store.files("runs/r/machine") == ["output/adapter_config.json"]
