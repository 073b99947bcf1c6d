"""How many processes of the engine an `up` and a `down` start: one for each operation, and none that keeps books."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from cloudtrain.simulator.clock import Clock
from tests.campaign.client import Client
from tests.campaign.clouds import TARGETS
from tests.engine.hostile_world import begin, ended, kill_all, wait_for

pytestmark = pytest.mark.engine
WORDS = TARGETS["runpod"].words


class Counted(Client):
    """A client whose `bin/pulumi` writes its arguments down before it becomes the real one."""

    def __init__(self, folder: Path, root: Path, **more: str) -> None:
        super().__init__(folder, TARGETS["runpod"].fake(Clock()), **more)
        self.log = folder / "verbs"
        real = import_module("cloudtrain.stacks._pulumi.command").find() / "bin" / "pulumi"
        wrapper = root / "bin" / "pulumi"
        wrapper.parent.mkdir(parents=True)
        wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {shlex.quote(str(self.log))}\nexec {real} "$@"\n')
        wrapper.chmod(0o755)

    def verbs(self) -> list[str]:
        """What was asked of the engine since the last time: `stack init` counts with its second word."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        words = [line.removeprefix("--non-interactive ").split() for line in lines]
        return [" ".join(each[: 2 if each[0] == "stack" else 1]) for each in words]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    """A person who has the engine from `doctor --install-pulumi`."""
    cache = tmp_path / "cache"
    version = import_module("cloudtrain.stacks._pulumi.command").VERSION
    made = Counted(tmp_path, cache / "pulumi" / f"v{version}", CLOUDTRAIN_CACHE=str(cache))
    made.environment.pop("CLOUDTRAIN_PULUMI_ROOT", None)
    yield made
    kill_all(made)
    made.fake.stop()


def test_up_and_down_start_five_processes_of_the_engine(installed: Counted) -> None:
    """Preview with its passing stack, up with the run's, destroy; asked by itself, an idle command starts none."""
    assert installed.up(*WORDS, "--name", "mine").code == 0
    assert installed.verbs() == ["stack init", "preview", "stack init", "up"]
    machine = json.loads(installed.document("mine", "machine.json").read_text())
    assert machine["id"] == "pod0000001"
    assert machine["outputs"]
    assert installed.run("ps").code == 0
    assert installed.verbs() == []
    assert installed.run("down", "mine").code == 0
    assert installed.verbs() == ["destroy"]
    assert installed.fake.leftovers() == []


def test_a_killed_create_is_exported_and_cleared(installed: Counted) -> None:
    """What the state knows as pending is looked at, and dropped after the destroy."""
    installed.fake.faults.add("createPod", "late", seconds=2.0)
    first = begin(installed, WORDS)
    wait_for(lambda: "createPod" in installed.fake.calls, first)
    kill_all(installed)
    ended(first)
    installed.verbs()
    assert installed.run("down", "mine").code == 0
    assert installed.verbs() == ["stack export", "destroy", "refresh"]
    assert installed.fake.leftovers() == []


def test_another_binary_is_asked_once_for_its_version(tmp_path: Path) -> None:
    """One that we have not installed: once in each process of ours."""
    root = tmp_path / "elsewhere"
    client = Counted(tmp_path, root, CLOUDTRAIN_PULUMI_ROOT=str(root))
    assert client.up(*WORDS, "--name", "mine").code == 0
    assert client.verbs() == ["version", "stack init", "preview", "stack init", "up"]
    assert client.run("down", "mine").code == 0
    assert client.verbs() == ["version", "destroy"]
    client.fake.stop()
