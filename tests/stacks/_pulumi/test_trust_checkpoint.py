"""The engine is given no state that names something which is not ours: it may run code for it."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import CloudtrainError
from cloudtrain.state.store import LocalFolder

engine = import_module("cloudtrain.stacks._pulumi.engine")
KEY = "runs/mine/pulumi/.pulumi/stacks/cloudtrain/mine.json"
URN = "urn:pulumi:mine::cloudtrain::"
PROVIDER = {"custom": True, "id": "b1b1b1b1-0000-4000-8000-000000000000", "inputs": {}, "outputs": {}}


def checkpoint(kind: str) -> bytes:
    """A stack with one resource of a type, and its provider, as the engine writes it."""
    package = kind.partition(":")[0]
    home = {**PROVIDER, "urn": f"{URN}pulumi:providers:{package}::default", "type": f"pulumi:providers:{package}"}
    thing = {"urn": f"{URN}{kind}::x", "custom": True, "id": "x", "type": kind, "inputs": {"__provider": "gASV"}}
    resources = [home, {**thing, "provider": f"{home['urn']}::{home['id']}"}]
    latest = {"manifest": {"time": "2026-11-30T05:00:00Z", "magic": "", "version": ""}, "resources": resources}
    return json.dumps(
        {"version": 3, "checkpoint": {"stack": "organization/cloudtrain/mine", "latest": latest}}
    ).encode()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the engine was asked to do, instead of it."""
    found: list[str] = []

    class Stack:
        def __getattr__(self, verb: str) -> Any:
            return lambda *args, **more: found.append(verb)

    monkeypatch.setattr(engine.Engine, "stack", lambda self, program=None: Stack())
    monkeypatch.setattr(engine.Engine, "operate", lambda self, work: work())
    return found


def destroy(folder: Path, kind: str) -> str:
    """`destroy` on a state that holds a resource of this type; the error's words, or nothing."""
    store = LocalFolder(folder)
    store.write(KEY, checkpoint(kind))
    try:
        engine.Engine(store, "mine").destroy()
    except CloudtrainError as error:
        return error.message
    return ""


def test_a_state_with_what_is_ours_is_destroyed(tmp_path: Path, asked: list[str]) -> None:
    """Otherwise the refusal below would say nothing."""
    assert destroy(tmp_path, "cloudtrain:aws:instance") == ""
    assert asked == ["destroy"]


@pytest.mark.parametrize("kind", ["pulumi-python:dynamic:Resource", "command:local:Command"])
def test_a_state_with_a_foreign_type_never_reaches_the_engine(tmp_path: Path, asked: list[str], kind: str) -> None:
    """A dynamic resource of Python is a pickle that `destroy` unpacks on the client."""
    assert kind in destroy(tmp_path, kind)
    assert asked == []
