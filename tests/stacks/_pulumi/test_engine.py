"""What is read of a stack's record without asking the engine, and when the engine has to be asked all the same."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.state.store import LocalFolder

Engine: Any = import_module("cloudtrain.stacks._pulumi.engine").Engine
CREATING = {"resource": {"inputs": {"kind": "pod", "inputs": '{"name": "x"}'}}, "type": "creating"}


class Asked(Exception):
    """The engine was started."""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine that cannot be started without being seen."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))

    def asked(work: object) -> None:
        raise Asked

    made = Engine(LocalFolder(tmp_path / "state"), "mine")
    monkeypatch.setattr(made, "operate", asked)
    return made


def record(engine: Any, data: bytes, end: str = ".json") -> None:
    """What lies where the engine keeps the stack."""
    engine.store.write(f"{engine.stack_folder}/mine{end}", data)


def checkpoint(version: int = 3, **latest: object) -> bytes:
    """A stack's record as the engine writes it."""
    return json.dumps({"version": version, "checkpoint": {"stack": "organization/cloudtrain/mine", **latest}}).encode()


@pytest.mark.parametrize(
    "latest", [{}, {"latest": None}, {"latest": {"resources": []}}, {"latest": {"pending_operations": []}}]
)
def test_a_record_without_pending_operations_is_believed(engine: Any, latest: dict[str, object]) -> None:
    """Nothing is pending and nothing is to be dropped: no process."""
    record(engine, checkpoint(**latest))
    assert engine.pending() == []
    engine.clear()


@pytest.mark.parametrize(
    "data",
    [
        checkpoint(latest={"pending_operations": [CREATING]}),
        checkpoint(version=4, latest={}),
        checkpoint(latest={"resources": []})[:-9],
        b"\x1f\x8b packed",
        b"[]",
        b"{}",
        b"",
    ],
    ids=["pending", "version", "cut", "packed", "list", "empty", "nothing"],
)
def test_any_other_record_is_the_engines_to_explain(engine: Any, data: bytes) -> None:
    """Also one that cannot be read: that it tells of nothing pending would be a guess."""
    record(engine, data)
    for ask in (engine.pending, engine.clear):
        with pytest.raises(Asked):
            ask()


def test_a_packed_record_is_the_engines_to_explain(engine: Any) -> None:
    """PULUMI_SELF_MANAGED_STATE_GZIP gives it another name."""
    record(engine, b"\x1f\x8b", ".json.gz")
    with pytest.raises(Asked):
        engine.pending()
