"""A machine that really runs ends whole: by its switch, and with the process that holds the switch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudtrain.simulator import guests, sandbox
from cloudtrain.simulator.guests import PowerRequest, understood
from cloudtrain.simulator.sandbox import MARK, Sandbox
from tests.patience import until

NOWHERE = "http://127.0.0.1:9/.machine/x"
HOLDER = """
import sys, time
from pathlib import Path
from cloudtrain.simulator.sandbox import Sandbox
held = Sandbox(Path(sys.argv[1]), "http://127.0.0.1:9/.machine/x", {})
held.boot(b"#!/bin/sh\\nsetsid sleep 1000 &\\necho up\\n")
print(held.environment[sys.argv[2]], flush=True)
time.sleep(1000)
"""


def marked(mark: str) -> list[str]:
    """The processes with that mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_machine_dies_with_the_process_that_made_it(tmp_path: Path) -> None:
    root = str(Path(guests.__file__).parents[2])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "machine"), MARK],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert holder.stdout
    mark = holder.stdout.readline().strip()
    until(lambda: len(marked(mark)) >= 2)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    if not sandbox.namespace():
        pytest.skip("without a pid namespace what ran away lives until its own end")
    until(lambda: not marked(mark))


def test_without_a_namespace_every_process_is_found_by_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "namespace", tuple)
    machine = Sandbox(tmp_path / "machine", NOWHERE, {})
    machine.boot(b"#!/bin/sh\n(setsid sleep 1000 &)\necho up\nsetsid sleep 1000\n")
    until(lambda: "up" in machine.console() and len(list(machine.processes())) >= 3)
    machine.cut()
    assert not list(machine.processes())


def test_nobody_else_can_read_a_machines_keys(tmp_path: Path) -> None:
    machine = Sandbox(tmp_path / "machine", NOWHERE, {"RUNPOD_API_KEY": "PLANTED-SECRET"})
    machine.run(["sh", "-c", "echo $RUNPOD_API_KEY; sleep 1000"])
    until(lambda: "PLANTED" in machine.console())
    arguments = b"".join((Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in machine.processes())
    machine.cut()
    assert b"sleep" in arguments
    assert b"PLANTED" not in arguments


def test_no_environment_takes_the_power_programs_off_the_path(tmp_path: Path) -> None:
    machine = Sandbox(tmp_path / "machine", NOWHERE, {"PATH": "/usr/bin:/bin"})
    machine.boot(
        b"#!/bin/sh\nfor each in shutdown poweroff systemctl; do command -v $each; done; shutdown -h now; echo end\n"
    )
    until(lambda: "end" in machine.console())
    machine.cut()
    stubs = [str(tmp_path / "machine" / "bin" / name) for name in ("shutdown", "poweroff", "systemctl")]
    assert machine.console().splitlines() == [*stubs, "shutdown: nobody holds the power switch of this machine", "end"]


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("shutdown -h now", PowerRequest("off", 0.0)),
        ("shutdown -h +0", PowerRequest("off", 0.0)),
        ("shutdown -h +90", PowerRequest("off", 5400.0)),
        ("shutdown", PowerRequest("off", 60.0)),
        ("shutdown -r 2", PowerRequest("restart", 120.0)),
        ("shutdown -c", PowerRequest("cancel", 0.0)),
        ("shutdown -h 23:59", None),
        ("shutdown --tomorrow", None),
        ("poweroff -f", PowerRequest("off", 0.0)),
        ("init 0", PowerRequest("off", 0.0)),
        ("systemctl poweroff", PowerRequest("off", 0.0)),
        ("systemctl --force reboot", PowerRequest("restart", 0.0)),
        ("systemctl restart nginx", None),
        ("systemd-run true", None),
    ],
)
def test_power_programs_are_understood_or_refused(words: str, wish: PowerRequest | None) -> None:
    assert understood(words.split()) == wish
