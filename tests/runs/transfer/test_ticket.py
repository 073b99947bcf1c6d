"""The ticket: everything that a machine needs, signed; nothing of ours that it must not have."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.plan import Plan
from cloudtrain.records import RowRecord
from cloudtrain.records.row import RecipeRecord
from cloudtrain.runs.record import Run
from cloudtrain.runs.transfer import ticket
from cloudtrain.runs.transfer.bundle import Bundle
from cloudtrain.state.store import LocalFolder
from tests.records import row

BUNDLE = Bundle("bundles/0.tar.gz", "0" * 64, 7)
LINE = row()


class InBucket(LocalFolder):
    """A folder that says it is a bucket: signing asks nobody."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.url = "s3://bucket-x/team?region=us-east-1"


@pytest.fixture
def issued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Issue a ticket for a plan with changes; returns the document."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    store = InBucket(tmp_path)

    def issue(model: str = "org/name", line: RowRecord = LINE, **more: Any) -> dict[str, Any]:
        job = {"model": model}
        plan = Plan("r", "i", "aws", "cpu", line, job, "", "0", time.time() + 3600, "test", (), 1.0, attempt=2, **more)
        boot = ticket.issue(store, Run(store, "r"), plan, BUNDLE)
        assert "Signature" not in json.dumps(boot)
        found: dict[str, Any] = json.loads(store.read(boot["ticket"]) or b"")
        return found

    issue.store = store  # type: ignore[attr-defined]
    return issue


def test_it_says_who_until_when_and_how_it_ends(issued: Callable[..., dict[str, Any]]) -> None:
    """Run, attempt, deadline, bundle with its hash, end; no key of ours."""
    found = issued()
    assert (found["run"], found["attempt"], found["end"]) == ("r", 2, {"kind": "aws"})
    assert found["bundle"]["sha256"] == BUNDLE.sha256
    assert "/team/bundles/0.tar.gz?" in found["bundle"]["url"]
    assert found["post"]["prefix"] == "team/runs/r/machine/"
    assert found["model"] is None
    assert found["resume"] is None
    assert "a-secret-key" not in json.dumps(found)


def test_it_says_how_many_sequences_its_machine_takes(issued: Callable[..., dict[str, Any]]) -> None:
    """Those of the row; of a row of an older version nothing, and the bundle's job stays as it is."""
    assert issued()["micro_batch"] is None
    recipe = RecipeRecord(stack="trl-cpu", method="qlora", batch=4)
    assert issued(line=LINE.replace(recipe=recipe))["micro_batch"] == 4


def test_it_says_by_what_the_end_is_foreseen(issued: Callable[..., dict[str, Any]]) -> None:
    """Nothing of it unless the plan has it: it is made at the launch."""
    assert issued()["rest"] is None
    rest = {"along": 0.5, "after_s": 60.0, "ends_at": 2e9, "cap_at": 1.9e9, "stop_above_cap": True}
    assert issued(rest=rest)["rest"] == rest


def test_it_goes_on_from_the_checkpoint_that_latest_names(issued: Any) -> None:
    """With every file of it, and behind the log that is there."""
    issued.store.write("runs/r/machine/ckpt/12/model.bin", b"12345")
    issued.store.write("runs/r/machine/ckpt/11/model.bin", b"1")
    issued.store.write("runs/r/machine/ckpt/LATEST", b"12\n")
    issued.store.write("runs/r/machine/log/0000000000000000", b"x" * 9)
    found = issued()
    assert found["resume"]["step"] == 12
    assert [(each["path"], each["bytes"]) for each in found["resume"]["files"]] == [("model.bin", 5)]
    assert found["log_bytes"] == 9


def test_weights_that_lie_in_the_state_are_listed(issued: Any) -> None:
    """By the name of a hub id, or of a folder."""
    issued.store.write("models/org--name/config.json", b"{}")
    assert [each["path"] for each in issued()["model"]["files"]] == ["config.json"]


def test_a_model_that_is_only_a_folder_here_is_refused(issued: Any) -> None:
    """Weights never travel from this machine; the hint says where to put them."""
    with pytest.raises(UsageError) as told:
        issued("/home/me/model")
    assert "models/model/" in told.value.hint


def test_weights_beyond_the_plan_s_disk_are_refused(issued: Any) -> None:
    """What was put into the folder after the plan was made would fill the disk: no ticket, so no machine."""
    issued.store.write("models/org--name/config.json", b"{}")
    issued.store.write("models/org--name/model.safetensors", b"x" * 1000)
    assert ticket.weights_bytes(issued.store, "org/name") == 1002
    assert ticket.weights_bytes(issued.store, "org/other") is None
    planned = {"disk_gb": 30, "disk_needed_gb": 20, "disk_parts_bytes": {"weights": 0}}
    assert len(issued(line=row(**planned))["model"]["files"]) == 2
    assert len(issued(line=row(**{**planned, "disk_gb": None}))["model"]["files"]) == 2
    with pytest.raises(UsageError, match=r"models/org--name/ holds 0 GB, and the machine's disk of 30 GB"):
        issued(line=row(**{**planned, "disk_needed_gb": 43}))
