"""The commands about runs, on a state without a run, with a bad spec, on a full disk, at a terminal."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudtrain.runs.record import Run
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.records import begin

Command = Callable[..., Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, this_machine: Callable[..., None]) -> Path:
    """A folder with a spec and one good row, as working folder."""
    monkeypatch.chdir(tmp_path)
    row = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}]}
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "cloudtrain.yaml").write_text("model: qwen3-0.6b\ndata: d.jsonl\n")
    return tmp_path


def nothing_was_made(own_world: Path) -> bool:
    """Whether the state has no run."""
    return LocalFolder(own_world / "state").children("runs") == []


@pytest.mark.parametrize(
    ("name", "argv"),
    [
        ("ps-empty", ["ps"]),
        ("logs-no-run", ["logs"]),
        ("logs-unknown", ["logs", "nope"]),
        ("down-unknown", ["down", "nope"]),
        ("down-which", ["down"]),
        ("down-all-empty", ["down", "--all"]),
        ("report-unknown", ["report", "nope"]),
        ("report-empty", ["report"]),
        ("pull-unknown", ["pull", "nope"]),
        ("events-unknown", ["events", "nope"]),
        ("up-nothing-here", ["up", "-y"]),
        ("up-two-specs", ["up", "a.yaml", "b.yaml"]),
    ],
)
def test_without_a_run_every_command_says_so(golden: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_world: Path,
                                             name: str, argv: list[str]) -> None:  # fmt: skip
    """Each has its own sentence and exit code, and makes nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDTRAIN_STATE", "state")  # so that no path of a test gets into a golden file
    golden(name, *argv)
    assert nothing_was_made(tmp_path)


@pytest.mark.parametrize(
    ("name", "spec", "data"),
    [
        ("up-unknown-key", "model: qwen3-0.6b\ndata: d.jsonl\nlearning_rat: 1\n", None),
        ("up-unknown-model", "model: qwen3-0.7b\ndata: d.jsonl\n", None),
        ("up-unknown-method", "model: qwen3-0.6b\ndata: d.jsonl\nmethod: qlorra\n", None),
        ("up-no-data", "model: qwen3-0.6b\ndata: missing.jsonl\n", None),
        ("up-empty-data", "model: qwen3-0.6b\ndata: d.jsonl\n", ""),
        ("up-broken-line", "model: qwen3-0.6b\ndata: d.jsonl\n", '{"text": "a"}\n{"text": \n'),
        ("up-wrong-role", "model: qwen3-0.6b\ndata: d.jsonl\n", '{"messages": [{"role": "usr", "content": "x"}]}\n'),
        ("up-too-large", "model: longcat-flash\ndata: d.jsonl\n", None),
        ("up-no-cap-to-stop-above", "model: qwen3-0.6b\ndata: d.jsonl\nbudget: {stop_above_cap: true}\n", None),
        ("up-over-budget", "model: qwen3-0.6b\ndata: d.jsonl\nbudget: {max_cost: 0.000001}\n", None),
    ],
)
def test_bad_input_of_up_starts_nothing(
    golden: Command, here: Path, monkeypatch: pytest.MonkeyPatch, name: str, spec: str, data: str | None
) -> None:
    """The sentence names file and line, the code is the contract's, and no run, environment or file is made."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", "state")
    monkeypatch.setenv("CLOUDTRAIN_WATTS", "100")
    monkeypatch.setenv("CLOUDTRAIN_USD_PER_KWH", "0.5")
    monkeypatch.setenv("CLOUDTRAIN_CACHE", "cache")
    (here / "cloudtrain.yaml").write_text(spec)
    if data is not None:
        (here / "d.jsonl").write_text(data)
    golden(name, "up", "-y", "--infra", "local")
    assert nothing_was_made(here)
    assert not (here / "cache").exists()


def test_a_full_disk_is_a_sentence_and_loses_nothing(
    cloudtrain: Command, own_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails names the file and what to do; the document that was there is still whole."""
    store = LocalFolder(own_world / "state")
    begin(store, "r")
    before = store.read("runs/r/intent.json")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cloudtrain.state.store.os.fsync", full)
    result = cloudtrain("down", "r")
    assert result.code == 2
    assert "No space left on device" in result.err
    monkeypatch.undo()
    assert LocalFolder(own_world / "state").read("runs/r/intent.json") == before
    assert [name for name in os.listdir(own_world / "state" / "runs" / "r") if ".intent" in name] == []


def test_a_damaged_state_document_is_named(cloudtrain: Command, own_world: Path) -> None:
    """A record that was cut off is a sentence with its name; nothing is deleted."""
    store = LocalFolder(own_world / "state")
    store.write("runs/r/intent.json", b'{"provider": "lo')
    result = cloudtrain("ps", "-a")
    assert result.code == 2
    assert "runs/r/intent.json" in result.err
    assert store.read("runs/r/intent.json") == b'{"provider": "lo'


def test_down_without_a_name_takes_the_only_run(cloudtrain: Command, own_world: Path) -> None:
    """It says which; of several it asks which, and one that is gone already is none."""
    store = LocalFolder(own_world / "state")
    for name in ("one", "two"):
        begin(store, name)
    several = cloudtrain("down")
    assert (several.code, "say which run: 2 are not gone, one, two" in several.err) == (2, True)
    assert cloudtrain("down", "one").code == 0
    last = cloudtrain("down")
    assert (last.code, "the only run that is not gone: two" in last.err) == (0, True)
    assert Run(store, "two").state == "cancelled"
    assert "nothing to end" in cloudtrain("down").err
    assert cloudtrain("down", "--all", "one").code == 2


def test_down_of_a_run_without_a_machine_certifies_it(cloudtrain: Command, own_world: Path) -> None:
    """A record without a machine (the client died early) is looked for by its tag, found absent, and closed; twice is fine."""
    store = LocalFolder(own_world / "state")
    begin(store, "r")
    assert cloudtrain("ps").out.split()[-8:]
    for _ in range(2):
        result = cloudtrain("down", "r")
        assert (result.code, "no process carries CLOUDTRAIN_RUN=r" in result.out) == (0, True)
    assert Run(store, "r").state == "cancelled"
