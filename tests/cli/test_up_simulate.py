"""What `up --simulate` refuses, in whole outputs; the whole life is in tests/engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.providers import Stack, load
from tests.conftest import Result


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, own_world: Path) -> None:
    """A folder in which an engine seems to be."""
    program = own_world / "engine" / "bin" / "pulumi"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho v3.259.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("CLOUDTRAIN_PULUMI_ROOT", str(own_world / "engine"))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("detach", ("runpod", "--detach")),
        ("machine-only", ("aws", "--machine-only")),
        ("elsewhere", ("aws", "--infra", "aws/us-east-1", "--infra", "gcp")),
        ("unknown", ("azure",)),
    ],
)
def test_it_refuses_what_makes_no_sense(
    golden: Callable[..., Result], here: Path, engine: None, name: str, words: tuple[str, ...]
) -> None:
    """Exit 2, a sentence, nothing made."""
    assert golden(f"up-simulate-{name}", "up", "--simulate", *words).code == 2
    assert list(here.iterdir()) == []


def test_without_the_extra_it_names_it(
    golden: Callable[..., Result], here: Path, engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the fakes are made of is an extra."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "moto" else name)
    assert golden("up-simulate-no-extra", "up", "--simulate", "runpod", "-y").code == 2


def test_without_the_engine_it_says_how_to_get_it(
    cloudtrain: Callable[..., Result], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence that every rented run has."""
    load("stacks", "aws", Stack)
    monkeypatch.delenv("CLOUDTRAIN_PULUMI_ROOT", raising=False)
    folders = [f for f in os.environ["PATH"].split(os.pathsep) if not os.access(Path(f) / "pulumi", os.X_OK)]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    result = cloudtrain("up", "--simulate", "aws", "-y")
    assert result.code == UsageError.exit_code
    assert "`cloudtrain doctor --install-pulumi`" in result.err


def test_variables_and_folders_are_as_before(
    cloudtrain: Callable[..., Result], here: Path, engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a refusal inside the fake world, here of a spec; the credentials are there again."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
    (here / "cloudtrain.yaml").write_text("model: smollm2-135m\ndata: nowhere.jsonl\n")
    before = dict(os.environ)
    result = cloudtrain("up", "--simulate", "aws", "-y")
    assert result.code == UsageError.exit_code
    assert "nowhere.jsonl" in result.err
    assert dict(os.environ) == before
    assert {path.name for path in here.iterdir()} == {"cloudtrain.yaml", "cache"}
    assert list((here / "cache").rglob("*")) == [here / "cache" / "environments"]
