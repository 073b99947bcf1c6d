"""Small doors: odd surroundings and odd names end in a sentence, not in a traceback or in somebody else's folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.runs.client.planning import new_name
from cloudtrain.state.layout import is_machines
from cloudtrain.state.store import LocalFolder
from tests.conftest import Result
from tests.patience import PATIENCE_S
from tests.records import begin, intent, machine

Command = Callable[..., Result]
SMALL = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 4}


def records(state: Path, name: str = "r") -> Path:
    """A cancelled run on this machine; returns its folder."""
    folder = state / "runs" / name
    (folder / "machine" / "log").mkdir(parents=True)
    (folder / "intent.json").write_bytes(intent(run=name, wanted="down", deadline=2.0).as_bytes())
    (folder / "machine" / "log" / f"{0:016d}").write_text("a line\n")
    return folder


def test_a_state_that_is_no_address_is_a_usage_error(cloudtrain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `s3://[` is none."""
    monkeypatch.setenv("CLOUDTRAIN_STATE", "s3://[")
    ended = cloudtrain("ps")
    assert ended.code == 2, ended.err
    assert "s3://[" in ended.err


def shell(line: str) -> tuple[int, str]:
    """A line with `cloudtrain` in it: exit code and what is said on stderr."""
    line = line.replace("cloudtrain", f'"{sys.executable}" -m cloudtrain', 1)
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return ended.returncode, ended.stderr


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    """`| head` under `pipefail`."""
    code, said = shell("cloudtrain quote llama-3.1-8b --all | head -n 1")
    assert (code, said.count("Traceback")) == (0, 0), said


@pytest.mark.parametrize("stdout", ["> /dev/full", ">&-"])
def test_a_full_or_closed_stdout_is_told_in_a_sentence(stdout: str) -> None:
    """Not as something unexpected, and without a traceback."""
    code, said = shell(f"cloudtrain models {stdout}")
    if code == 0 and stdout == "> /dev/full":
        raise RuntimeError("what was printed is lost")
    assert [word for word in ("unexpected", "Traceback") if word in said] == [], said


def test_a_closed_stderr_is_borne() -> None:
    """What was asked for has been printed."""
    assert shell("cloudtrain models 2>&- > /dev/null")[0] == 0


@pytest.mark.parametrize("line", ["cloudtrain --version | true", "cloudtrain --version > /dev/full"])
def test_a_version_that_nobody_reads_is_no_traceback(line: str) -> None:
    """It is answered before everything else, and by the same rules."""
    code, said = shell(line)
    assert code == (2 if "full" in line else 0), said
    assert "Traceback" not in said


@pytest.mark.parametrize("variable", ["CLOUDTRAIN_THROUGHPUT", "CLOUDTRAIN_CATALOG"])
def test_a_pipe_in_the_place_of_a_table_is_refused(tmp_path: Path, variable: str) -> None:
    """Nobody writes into it: opened, it would be waited for."""
    os.mkfifo(tmp_path / "aws.csv")
    named = tmp_path / "aws.csv" if "THROUGHPUT" in variable else tmp_path
    code, said = shell(f"export {variable}='{named}'; cloudtrain quote llama-3.1-8b > /dev/null")
    assert code == 2, said
    assert "aws.csv" in said


def test_an_absurd_vocabulary_is_no_traceback(cloudtrain: Command, tmp_path: Path) -> None:
    """Nothing viable, or a refusal of the file."""
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **HEADS, "hidden_size": 4096, "vocab_size": 10**9}))
    ended = cloudtrain("quote", tmp_path, "-o", "json")
    assert ended.code in (0, 2, 3), ended.err


def test_a_stray_file_in_the_log_is_passed_over(own_world: Path, cloudtrain: Command) -> None:
    """The bytes that are a log are shown."""
    (records(own_world / "state") / "machine" / "log" / "abc").write_text("x")
    ended = cloudtrain("logs", "r")
    assert (ended.code, ended.out) == (0, "a line\n"), ended.err


def test_a_stray_event_is_passed_over(own_world: Path, cloudtrain: Command) -> None:
    """The others are shown."""
    good = json.dumps({"time": 1.0, "actor": "client", "event": "launched"})
    (records(own_world / "state") / "events.jsonl").write_text(f"[1]\n{good}\n")
    ended = cloudtrain("events", "r")
    assert ended.code == 0, ended.err
    assert "launched" in ended.out


@pytest.mark.parametrize("words", [("down",), ("logs",), ("events",)])
def test_a_name_that_leads_elsewhere_is_refused(own_world: Path, cloudtrain: Command, words: tuple[str, ...]) -> None:
    """`../runs/r` is no run's name."""
    records(own_world / "state")
    ended = cloudtrain(*words, "../runs/r")
    assert ended.code == 2, ended.out


def write_if_read(path: Path, text: str) -> None:
    """Into a pipe, once somebody has opened it, and as long as nobody has closed it."""
    with contextlib.suppress(BrokenPipeError):
        path.write_text(text)


@pytest.mark.parametrize("name", ["-rf", "../base", ".hidden", "a/b", "", "x" * 101, "ünï"])
def test_a_run_name_is_a_plain_word(own_world: Path, name: str) -> None:
    """It is a folder here, a key in a bucket, and a word of commands."""
    prepared: Any = None  # it is refused before anything else is looked at
    with pytest.raises(UsageError):
        new_name(LocalFolder(own_world / "state"), prepared, name, another=False)


@pytest.mark.parametrize("name", ["config.toml", "config.json"])
def test_a_pipe_in_the_place_of_a_file_is_refused(
    cloudtrain: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without a writer it would be waited for, for ever; here somebody writes what is wanted."""
    os.mkfifo(tmp_path / name)
    text = "" if name == "config.toml" else json.dumps({**SMALL, **HEADS, "vocab_size": 1000})
    threading.Thread(target=write_if_read, args=[tmp_path / name, text], daemon=True).start()
    monkeypatch.setenv("CLOUDTRAIN_CONFIG", str(tmp_path / "config.toml"))
    try:
        ended = cloudtrain("ps") if name == "config.toml" else cloudtrain("estimate", tmp_path)
        assert ended.code == 2, ended.out
    finally:
        os.close(os.open(tmp_path / name, os.O_RDONLY | os.O_NONBLOCK))  # lets a writer that still waits go


HIDE = ("exit.json", "hb.json", "machine.json", "quote.json", "gone.json")


@pytest.mark.parametrize("words", [("ps", "-a"), ("report",)])
@pytest.mark.parametrize(
    "name",
    ["intent.json", *HIDE],
)
def test_one_damaged_run_does_not_hide_the_others(
    own_world: Path, cloudtrain: Command, words: tuple[str, ...], name: str
) -> None:
    """It is a line that says so."""
    records(own_world / "state", "good")
    folder = records(own_world / "state", "bad")
    (folder / "machine" / name if is_machines(name) else folder / name).write_text("[1]")
    ended = cloudtrain(*words)
    assert "good" in ended.out, ended.err
    assert "unexpected" not in ended.err


@pytest.mark.parametrize("words", [("ps", "-a"), ("report",)])
@pytest.mark.parametrize("kind", ["", "aws:instance"])
def test_records_that_do_not_fit_together_hide_no_others(
    own_world: Path, cloudtrain: Command, words: tuple[str, ...], kind: str
) -> None:
    """A machine of a kind that its provider has not, or without a place."""
    records(own_world / "state", "good")
    store = LocalFolder(own_world / "state")
    begin(store, "bad", provider="aws")
    store.write("runs/bad/machine.json", machine(kind=kind).as_bytes())
    ended = cloudtrain(*words)
    assert "good" in ended.out, ended.err
    assert "unexpected" not in ended.err
