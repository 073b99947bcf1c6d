"""`up` at a real terminal: it asks before it starts, shows one line that changes, and Ctrl-C asks."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from cloudtrain.runs import follow
from tests.patience import PATIENCE_S
from tests.runs.test_real_runs import Desk, final_step, nothing_runs
from tests.templates.conftest import tiny_model
from tests.trainer_fixtures import demo_model, trainer_python, warm_cache, warm_python

__all__ = ["demo_model", "tiny_model", "trainer_python", "warm_cache", "warm_python"]  # fixtures
pytestmark = pytest.mark.trainer


class Terminal:
    """A command with a terminal of its own, so that Ctrl-C is a key."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.master, slave = pty.openpty()
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cloudtrain", *words],
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread here
        )
        os.close(slave)

    def read_until(self, text: str, seconds: float = PATIENCE_S) -> str:
        """Read what the screen shows until `text` is in it."""
        give_up = time.monotonic() + seconds
        while text not in self.seen and time.monotonic() < give_up:
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.master, 4096).decode(errors="replace")
                except OSError:  # the other end is closed
                    break
        assert text in self.seen, self.seen[-2000:]
        before, _, self.seen = self.seen.partition(text)
        return before

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self.master, keys.encode())

    def end(self, seconds: float = PATIENCE_S) -> int:
        """Exit code."""
        return self.process.wait(timeout=seconds)


@pytest.fixture
def desk(tmp_path: Path, tiny_model: Path, own_world: Path, warm_cache: Path) -> Desk:
    """A place to work at."""
    return Desk(tmp_path, tiny_model, own_world / "state")


def test_ctrl_c_says_whether_it_leaves_or_stops_the_run(desk: Desk) -> None:
    """No: the run goes on and the commands are named. Attached again, a second Ctrl-C stops it with a checkpoint."""
    words = ("up", "max_steps=2000")
    first = Terminal(desk.folder, *words)
    first.read_until("start it?")
    first.press("y\n")
    first.read_until("step ")
    first.press("\x03")
    first.read_until("stop `")
    first.press("n\n")
    first.read_until("running")
    assert first.end() == 130
    run = desk.record
    assert run.alive
    second = Terminal(desk.folder, *words)
    second.read_until("attached")
    second.read_until("step ")
    second.press("\x03")
    second.read_until("stop `")
    second.press("\x03")
    second.read_until("nothing of it runs")
    assert second.end() == 130
    assert nothing_runs(run.id)
    events = filter(None, map(follow.parse_event, b"".join(follow.blocks(run, 0)).splitlines()))
    assert final_step(desk) == max(event["step"] for event in events if event["event"] == "step")


def test_no_is_an_answer(desk: Desk) -> None:
    """Answering no starts nothing and is exit 103."""
    terminal = Terminal(desk.folder, "up")
    terminal.read_until("start it?")
    terminal.press("n\n")
    terminal.read_until("nothing was started")
    assert terminal.end() == 103
    assert not (desk.state / "runs").exists()
