"""The first process of a container: exit codes, signals and orphans of the command it starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

TEMPLATES = Path(str(files("cloudtrain.templates")))


@pytest.fixture
def entry(tmp_path: Path) -> list[str]:
    """The command line of the entry point in a folder laid out as in an image; its trainer shows what it was given."""
    for name in ("torch", "supervisor"):
        (tmp_path / "trainer" / name).mkdir(parents=True)
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    (tmp_path / "environment" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "image.json").write_text(json.dumps({"backend": "torch", "accelerator": "cpu"}))
    shutil.copy(TEMPLATES / "torch" / "backend.json", tmp_path / "trainer" / "torch")
    shutil.copy(TEMPLATES / "image" / "entrypoint.py", tmp_path)
    show = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)])); sys.exit(65)"
    for name in ("torch/train", "supervisor/supervisor"):
        (tmp_path / "trainer" / f"{name}.py").write_text(show)
    return [sys.executable, str(tmp_path / "entrypoint.py")]


def run(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **variables}
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=environ)


def test_the_trainer_gets_its_variables_and_gives_its_exit_code(entry: list[str]) -> None:
    """What the container was given wins over the file."""
    done = run([*entry, "train", "/job/job.json"], OMP_WAIT_POLICY="ACTIVE")
    arguments, variables = json.loads(done.stdout)
    assert (done.returncode, arguments) == (65, ["/job/job.json"])
    assert variables["MALLOC_TRIM_THRESHOLD_"] == "8589934592"
    assert variables["OMP_WAIT_POLICY"] == "ACTIVE"


def test_the_supervisor_is_started_without_the_trainers_variables(entry: list[str]) -> None:
    """Its own document has them for the trainer."""
    done = run([*entry, "supervise", "/run"])
    assert json.loads(done.stdout)[0] == ["/run"]
    assert "MALLOC_TRIM_THRESHOLD_" not in json.loads(done.stdout)[1]


def test_any_other_command_runs_as_it_is(entry: list[str]) -> None:
    """A provider that gives a command of its own gets it; one that is not there is 127 with a sentence."""
    assert run([*entry, "sh", "-c", "exit 7"]).returncode == 7
    missing = run([*entry, "no-such-program"])
    assert missing.returncode == 127
    assert "`no-such-program` cannot be started" in missing.stderr
    assert run(entry).returncode == 0


def test_a_signal_reaches_the_command_and_its_death_is_told(entry: list[str]) -> None:
    """A command that handles SIGTERM ends as it likes; one that does not is 128 + 15."""
    handles = "trap 'exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    for command, code in (
        ([*entry, "sh", "-c", handles], 75),
        ([*entry, "sh", "-c", "echo ready; exec sleep 3600"], 143),
    ):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE_S) == code


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a pid namespace needs root")
def test_as_first_process_it_hands_signals_on_and_collects_orphans(entry: list[str], tmp_path: Path) -> None:
    """In a namespace of its own it is process 1: an orphan leaves no zombie behind, and SIGTERM is not ignored."""
    count = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    orphan = f"((sleep 0.1; : >{tmp_path}/over) & exec true) & wait; until [ -e {tmp_path}/over ]; do sleep 0.05; done"
    buried = f"while [ $({count}) != 0 ]; do sleep 0.05; done; echo buried"
    script = f"{orphan}; {buried}; trap 'exit 75' TERM; echo ready; while :; do sleep 0.05; done"
    isolated = ["unshare", "--pid", "--fork", "--mount-proc", *entry, "sh", "-c", script]
    with subprocess.Popen(isolated, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "buried"
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 75


def test_the_helper_needs_no_package(entry: list[str]) -> None:
    """It runs on the base image's bare Python."""
    done = run([sys.executable, "-I", "-S", entry[1], "help"])
    assert done.returncode == 0
    assert "train JOB.json" in done.stdout
