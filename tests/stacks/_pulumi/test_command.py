"""Ctrl-C lets the engine come to its own end; a second one leaves it; nothing of ours dies with a pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.errors import UsageError
from tests.patience import PATIENCE_S, until

command = import_module("cloudtrain.stacks._pulumi.command")


def interrupt(*signals: int, taken: Callable[[], object] = lambda: True) -> None:
    """Send us these signals from another thread, the next one when the one before was `taken`."""

    def waits() -> bool:
        frame, names = sys._current_frames().get(threading.main_thread().ident or 0), set()
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return {"in_worker", "wait"} <= names and "start" not in names

    def send() -> None:
        until(waits, "waiting for the work")
        for number in signals:
            os.kill(os.getpid(), number)
            until(taken)

    threading.Thread(target=send, daemon=True).start()


def test_work_without_an_interrupt_returns_or_raises_what_it_does() -> None:
    """In its thread, seen here."""
    assert command.in_worker(lambda: 7, lambda: None) == 7
    with pytest.raises(ValueError, match="of the work"):
        command.in_worker(lambda: int("x of the work"), lambda: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_stops_the_work_and_waits_for_it(number: int) -> None:
    """KeyboardInterrupt comes after it, not instead of it."""
    asked, ended = threading.Event(), threading.Event()

    def work() -> None:
        interrupt(number)
        assert asked.wait(PATIENCE_S)
        time.sleep(0.2)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        command.in_worker(work, asked.set)
    assert ended.is_set()


def test_a_second_interrupt_leaves_the_work() -> None:
    """Asked to stop once."""
    asked: list[int] = []
    never = threading.Event()

    def work() -> None:
        interrupt(signal.SIGINT, signal.SIGINT, taken=lambda: asked)
        never.wait(PATIENCE_S)

    with pytest.raises(KeyboardInterrupt):
        command.in_worker(work, lambda: asked.append(1))
    assert asked == [1]
    assert not never.is_set()
    never.set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_the_work_starts_leaves_nothing_unattended(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread runs already, and nobody waits for it yet."""
    asked, ended = threading.Event(), threading.Event()

    class Started(threading.Thread):
        def start(self) -> None:
            super().start()
            os.kill(os.getpid(), number)

    def work() -> None:
        assert asked.wait(PATIENCE_S)
        ended.set()

    monkeypatch.setattr(command.threading, "Thread", Started)
    with pytest.raises(KeyboardInterrupt):
        command.in_worker(work, asked.set)
    assert ended.is_set()


def test_a_caller_that_is_deaf_to_an_interrupt_stays_so() -> None:
    """A job in the background; the handlers are the caller's again afterwards."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert command.in_worker(lambda: os.kill(os.getpid(), signal.SIGINT), lambda: None) is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals")
def test_sigterm_means_afterwards_what_it_meant_before() -> None:
    """Handler given back."""
    before = signal.getsignal(signal.SIGTERM)
    command.in_worker(lambda: None, lambda: None)
    assert signal.getsignal(signal.SIGTERM) is before


def fake_engine(folder: Path, script: str) -> Any:
    """A command that runs a script instead of Pulumi's."""
    (folder / "bin").mkdir()
    path = folder / "bin" / "pulumi"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nif 'version' in sys.argv:\n    print('v3.259.0')\n    sys.exit()\n{script}"
    )
    path.chmod(0o755)
    return command.safe_command(folder, folder)


def test_the_engine_has_a_session_and_files_of_its_own(tmp_path: Path) -> None:
    """Neither a terminal's Ctrl-C nor a broken pipe reaches it."""
    script = "import os\nprint(os.getsid(0) == os.getpid(), *[os.path.isfile(f'/proc/self/fd/{n}') for n in (1, 2)])"
    result = fake_engine(tmp_path, script).run(["up"], str(tmp_path), {})
    assert result.stdout.split() == ["True", "True", "True"]


def test_what_it_says_is_passed_on_and_its_failure_raised(tmp_path: Path) -> None:
    """Line by line, with the code."""
    from pulumi.automation.errors import CommandError

    said: list[str] = []
    engine = fake_engine(tmp_path, "print('one'); print('two'); print('bad', file=sys.stderr); sys.exit(3)")
    with pytest.raises(CommandError, match="bad"):
        engine.run(["up"], str(tmp_path), {}, said.append, said.append)
    assert said == ["one", "two", "bad"]


def test_stop_sends_one_sigint(tmp_path: Path) -> None:
    """A second one would make the engine forget what it is doing."""
    script = """
import os, signal, time
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
open("ready", "w").close()
while not os.path.exists("asked twice"):
    time.sleep(0.01)
print(len(count))
"""
    engine = fake_engine(tmp_path, script)

    def stop_twice() -> None:
        until((tmp_path / "ready").exists)
        engine.stop()
        engine.stop()
        (tmp_path / "asked twice").touch()

    threading.Thread(target=stop_twice, daemon=True).start()
    assert engine.run(["up"], str(tmp_path), {}).stdout.strip() == "1"


def test_the_engine_is_found_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named folder without it is an error with a way out; none at all tells how to get it."""
    monkeypatch.setenv("CLOUDTRAIN_PULUMI_ROOT", str(tmp_path))
    with pytest.raises(UsageError, match="CLOUDTRAIN_PULUMI_ROOT"):
        command.find()
    monkeypatch.delenv("CLOUDTRAIN_PULUMI_ROOT")
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="is not installed") as told:
        command.find()
    assert "--install-pulumi" in told.value.hint
    fake_engine(tmp_path, "")
    monkeypatch.setenv("CLOUDTRAIN_PULUMI_ROOT", str(tmp_path))
    assert command.find() == tmp_path


def test_the_engine_outlives_the_death_of_its_client(tmp_path: Path) -> None:
    """What it is making is finished and recorded."""
    fake_engine(
        tmp_path,
        "import os, time\nclient = os.getppid()\nopen('begun', 'w').close()\nwhile os.getppid() == client:\n"
        "    print('x' * 9999, flush=True)\n    time.sleep(0.01)\nprint('x' * 99999, flush=True)\nopen('finished', 'w').close()",
    )
    client = f"""
from importlib import import_module
from pathlib import Path
folder = Path({str(tmp_path)!r})
import_module("cloudtrain.stacks._pulumi.command").safe_command(folder, folder).run(["up"], str(folder), {{}})
"""
    process = subprocess.Popen([sys.executable, "-c", client])
    until((tmp_path / "begun").exists)
    process.kill()
    process.wait()
    until((tmp_path / "finished").exists)


def test_a_foreign_binary_is_asked_once_for_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever uses it next in the same process knows it by then; our own needs no asking."""
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(tmp_path / "cache"))
    fake_engine(tmp_path, "")
    (tmp_path / "bin" / "pulumi").unlink()
    assert str(command.safe_command(tmp_path, tmp_path).version) == command.VERSION
    assert str(command.safe_command(command.installed_root(), tmp_path).version) == command.VERSION
