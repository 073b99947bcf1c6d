"""Every test works in folders of its own: no test can touch the user's state, settings or cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

NOW = "2026-11-24T12:00:00Z"


@pytest.fixture(autouse=True)
def own_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pin the clock for quotes, the width, the colours; move state and settings away. The cache stays: it is shared."""
    world = tmp_path_factory.mktemp("world")
    for name in [name for name in os.environ if name.startswith("CLOUDTRAIN_") and name != "CLOUDTRAIN_CACHE"]:
        if not name.startswith("CLOUDTRAIN_FUZZ"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLOUDTRAIN_STATE", str(world / "state"))
    monkeypatch.setenv("CLOUDTRAIN_CONFIG", str(world / "config.toml"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    return world


class Result(NamedTuple):
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def cloudtrain(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Result]:
    """Run a command in this process; the whole output and the exit code are the result."""
    from cloudtrain.cli import run

    def call(*argv: str) -> Result:
        capfdbinary.readouterr()
        code = run([str(word) for word in argv])
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(), err.decode())

    return call
