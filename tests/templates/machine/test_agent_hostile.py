"""The agent in a hostile world: wrong clocks, cut and hanging lines, a full disk, a slow bucket, kills at every step."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from tests.fakes import TRAINER
from tests.patience import PATIENCE_S, at_some_pace, until
from tests.templates.machine.agent_world import Machine, Mailbox, bundle
from tests.templates.machine.cutter import Cutter

pytestmark = pytest.mark.machine
WITH_FILE = TRAINER.replace(
    "    (folder / str(step)).mkdir(exist_ok=True)\n",
    '    (folder / str(step)).mkdir(exist_ok=True)\n    (folder / str(step) / "weights").write_text("w" * 1000)\n',
)
LATE_MIN = 4  # minutes that may pass on a busy machine until a timer is set
CLOCK = "import time\nreal = time.time\ntime.time = lambda: real() + {skew}\n"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    made = Mailbox()
    yield made
    made.server.shutdown()


@pytest.fixture
def machine(tmp_path: Path, box: Mailbox) -> Iterator[Machine]:
    yield from made_machine(tmp_path, box)


def made_machine(folder: Path, box: Mailbox) -> Generator[Machine]:
    """A machine that has its environment, and is off afterwards."""
    made = Machine(folder, box)
    made.make_environment()
    try:
        yield made
    finally:
        made.off()


def knobs(**values: object) -> str:
    return json.dumps(values)


def ticking(machine: Machine, folder: Path, skew_s: float) -> None:
    """Every Python of the machine has a clock that is ahead of the true one by so much."""
    (folder / "clock").mkdir()
    (folder / "clock" / "sitecustomize.py").write_text(CLOCK.format(skew=skew_s))
    machine.environment["PYTHONPATH"] = str(folder / "clock")


def program(folder: Path, name: str) -> Path:
    """A stub in the machine's path that notes its arguments; where it notes them."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f'#!/bin/sh\necho "$@" >>{folder}/told\n')
    (folder / "bin" / name).chmod(0o755)
    return folder / "told"


@pytest.mark.parametrize("skew_s", [-3600.0, 3600.0])
def test_an_hour_of_clock_error_neither_adds_nor_takes_time(box: Mailbox, tmp_path: Path, skew_s: float) -> None:
    """The bucket's answers tell the time: the job works, and stops before the true deadline, with a checkpoint."""

    def play(factor: float) -> None:
        folder = tmp_path / str(factor)
        with contextlib.closing(made_machine(folder, box)) as machines:
            machine = next(machines)
            ticking(machine, folder, skew_s)
            deadline = machine.ticket["deadline"] = time.time() + 6 * factor
            machine.start(FAKE_TRAINER=knobs(steps=10**6, pause_s=0.02))
            assert machine.ends() == 0
            record = box.document("exit.json")
            assert record["reason"] == "deadline"
            assert record["step"] > 10
            assert record["started_at"] < deadline - 3 * factor
            assert record["ended_at"] < deadline + machine.ticket["grace_s"]
            assert box.get("ckpt/LATEST") == f"{record['step']}\n".encode()
            assert abs(float((machine.home / "ahead").read_text()) + skew_s) <= 2 * factor

    at_some_pace(play)


@pytest.mark.parametrize(("skew_s", "told"), [(-3600.0, True), (3600.0, True), (20.0, False)])
def test_a_timer_under_a_wrong_clock_is_set_again(machine: Machine, tmp_path: Path, skew_s: float, told: bool) -> None:
    """`shutdown` is told the true minutes that are left, rounded down; seconds are nobody's business."""
    ticking(machine, tmp_path, skew_s)
    notes = program(tmp_path, "shutdown")
    machine.environment["PATH"] = f"{tmp_path}/bin:{machine.environment['PATH']}"
    machine.ticket.update(end={"kind": "aws"}, deadline=time.time() + 30 * 60 + 30)
    machine.start(FAKE_TRAINER=knobs(steps=3))
    assert machine.ends() == 0
    minutes = re.fullmatch(r"-h \+(\d+)\n", notes.read_text()) if notes.exists() else None
    assert bool(minutes) == told == notes.exists()
    assert minutes is None or 30 - LATE_MIN <= int(minutes[1]) <= 30


def test_the_start_script_heeds_the_jobs_knowledge_of_the_clock(tmp_path: Path) -> None:
    """A reboot sets the timer anew: with a clock that is an hour behind, and known to be, by the true time."""
    notes = program(tmp_path, "shutdown")
    text = files("cloudtrain.templates").joinpath("machine", "aws_user_data.sh").read_text()
    script = text.replace("@DEADLINE@", str(int(time.time()) + 600 + 30))
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "CLOUDTRAIN_HOME": str(tmp_path)}
    environment["CLOUDTRAIN_PER_BOOT"] = str(tmp_path / "per-boot")
    (tmp_path / "script").write_text(script)
    for ahead in ("", "300"):
        (tmp_path / "ahead").write_text(ahead) if ahead else None
        subprocess.run(["sh", str(tmp_path / "script")], env=environment, check=True)
    first, second = (int(line.removeprefix("-h +")) for line in notes.read_text().splitlines())
    assert 10 - LATE_MIN <= first <= 10
    assert 5 <= first - second <= 5 + LATE_MIN


@pytest.mark.parametrize(("name", "words"), [("gcp_startup.sh", "-d x"), ("runpod_timer.py", "")])
def test_the_other_timers_heed_it_too(tmp_path: Path, name: str, words: str) -> None:
    """By the machine's clock there is an hour left, by the true one none: they act now."""
    text = files("cloudtrain.templates").joinpath("machine", name).read_text()
    (tmp_path / "program").write_text(text.replace("@DEADLINE@", str(int(time.time()) + 3000)))
    (tmp_path / "ahead").write_text("3600\n")
    notes = program(tmp_path, "off")
    environment = {
        **{"PATH": os.environ["PATH"], "CLOUDTRAIN_HOME": str(tmp_path), "CLOUDTRAIN_SLACK_S": "0"},
        **{"CLOUDTRAIN_WAITS_S": "0", "CLOUDTRAIN_METADATA": "http://127.0.0.1:9", "CLOUDTRAIN_RETRY_S": "0.1"},
        **{"CLOUDTRAIN_POWEROFF": str(tmp_path / "bin" / "off"), "CLOUDTRAIN_RUNPOD_URL": "http://127.0.0.1:9"},
        **{"CLOUDTRAIN_DEADLINE": str(time.time() + 3000), "RUNPOD_POD_ID": "p"},
    }
    start = ["sh"] if name.endswith(".sh") else [sys.executable, "-u"]
    with open(tmp_path / "out", "wb") as output:
        process = subprocess.Popen(
            [*start, str(tmp_path / "program")], env=environment, stdout=output, start_new_session=True
        )
    try:
        until(lambda: notes.exists() or "the time is over" in (tmp_path / "out").read_text())
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


@pytest.mark.parametrize("cuts", [20, pytest.param(100, marks=pytest.mark.soak)])
def test_cuts_of_the_line_lose_no_byte(tmp_path: Path, box: Mailbox, cuts: int) -> None:
    """Connections are reset at random bytes of requests and answers: the log is the trainer's, byte for byte."""
    cutter = Cutter(box.server.server_address[1], cuts, seed=5)
    box.url = cutter.url
    for machine in made_machine(tmp_path, box):
        machine.start(FAKE_TRAINER=knobs(steps=10**6, pause_s=0.001, every=50))
        until(lambda: cutter.left == 0)
        box.put("state/runs/r/kill", b"")
        assert machine.ends() == 0
        assert box.document("exit.json")["reason"] == "cancelled"
        assert box.log() == machine.local_log()
        assert box.document("exit.json")["log_bytes"] == len(machine.local_log())
        assert box.rewritten == []


@pytest.mark.parametrize("what", ["hb.json", "log/", "ckpt/", "exit.json", "kill"])
def test_a_silent_bucket_is_given_up_and_asked_again(machine: Machine, box: Mailbox, what: str) -> None:
    """The packets of a while are lost: whoever waits for an answer stops waiting, and what was sent is sent again."""
    machine.give(bundle(WITH_FILE))
    machine.environment["CLOUDTRAIN_TIMEOUT_S"] = "1"
    hung: list[str] = []

    def hang(name: str) -> None:
        if what in name and len(hung) < 3:
            hung.append(name)
            time.sleep(5)

    box.arrived = hang
    machine.start(FAKE_TRAINER=knobs(pause_s=0.05))
    assert machine.ends() == 0
    assert hung
    assert box.document("exit.json")["reason"] == "done"
    assert box.log() == machine.local_log()
    assert box.rewritten == []


def test_a_slow_upload_of_a_checkpoint_keeps_no_step_waiting(machine: Machine, box: Mailbox) -> None:
    """The bucket takes the first file of a checkpoint only when two hundred more steps are made and home."""
    machine.give(bundle(WITH_FILE))
    release = threading.Event()
    box.arrived = lambda name: release.wait(PATIENCE_S) and None if name.startswith("ckpt/") else None
    machine.environment["CLOUDTRAIN_TIMEOUT_S"] = str(PATIENCE_S)
    machine.start(FAKE_TRAINER=knobs(steps=400, pause_s=0.005, every=5))
    until(lambda: b'"step": 205,' in box.log())
    assert box.get("ckpt/LATEST") is None
    release.set()
    assert machine.ends() == 0
    assert box.get("ckpt/LATEST") == b"400\n"
    first = next(name for name in box.order if name.startswith("ckpt/"))
    assert int(first.split("/")[1]) < 200, "it was begun before those steps"


def test_weights_that_never_come_are_given_up(tmp_path: Path, box: Mailbox) -> None:
    """The first bytes come, and then no more: the machine does not wait for its deadline."""
    entry = box.put("models/m/weights", b"w" * 100000)
    box.cut_after = 1000
    released = threading.Event()
    box.arrived = lambda name: released.wait() and None if name.endswith("weights") and box.ranges else None

    def play(factor: float) -> None:
        box.ranges.clear()
        with contextlib.closing(made_machine(tmp_path / str(factor), box)) as machines:
            machine = next(machines)
            machine.environment["CLOUDTRAIN_TIMEOUT_S"] = "1"
            model = {"folder": "m", "files": [{"path": "weights", **entry}]}
            machine.ticket.update(model=model, no_progress_s=3 * factor)
            machine.start()
            assert machine.ends() == 0
            record = box.document("exit.json")
            assert record["reason"] == "no_weights"
            told = rf"nothing more came for {3 * factor:.0f} s, at \d000 of 100000 bytes"
            assert re.fullmatch(told, record["message"])

    at_some_pace(play)
    released.set()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a machine a small disk")
def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint(machine: Machine, box: Mailbox) -> None:
    """The trainer cannot write any more: the last checkpoint and the log to its last byte are home, the machine goes."""
    machine.home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "cloudtrain-test", str(machine.home)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        machine.give(bundle(WITH_FILE))
        machine.start(FAKE_TRAINER=knobs(steps=10**6, pause_s=0.0, every=1000))
        assert machine.ends() == 0
        record = box.document("exit.json")
        assert record["reason"] == "failed"
        assert "the machine's disk is full" in record["message"]
        latest = int(box.get("ckpt/LATEST") or b"0")
        assert latest >= 1000
        assert box.get(f"ckpt/{latest}/weights") == b"w" * 1000
        assert box.log() == machine.local_log()
    finally:
        machine.off()
        subprocess.run(["umount", "-l", str(machine.home)], check=False)


@pytest.mark.parametrize(
    "number",
    [pytest.param(n, marks=() if n in (1, 2, 4, 6, 9, 12, 15, 18) else pytest.mark.soak) for n in range(1, 19)],
)
def test_boot_and_agent_may_be_killed_at_every_request(machine: Machine, box: Mailbox, number: int) -> None:
    """Whatever is asked for or sent when the power of kill -9 strikes, the next start carries the run through, once."""
    machine.give(bundle(WITH_FILE))
    files_ = [{"path": name, **box.put(f"models/m/{name}", name.encode() * 1000)} for name in ("config", "weights")]
    machine.ticket["model"] = {"folder": "m", "files": files_}
    seen: list[str] = []

    def strike(name: str) -> None:
        seen.append(name)
        if len(seen) == number and machine.process is not None:
            machine.process.kill()

    box.arrived = strike
    words = knobs(steps=12, pause_s=0.03, every=4)
    machine.start(FAKE_TRAINER=words)
    if machine.ends() != 0:
        until(lambda: not box.at_work, "the answer to what was sent before the kill")
        machine.start(FAKE_TRAINER=words)
        assert machine.ends() == 0
    assert len(seen) >= number
    assert box.document("exit.json")["reason"] == "done"
    assert box.log() == machine.local_log()
    assert box.log().count(b'"event": "start"') == 1
    assert box.get("ckpt/LATEST") == b"12\n"
    assert box.rewritten == []
    assert box.last_but_heartbeats() == "exit.json"


@pytest.mark.parametrize("moment", ["processes.json", "hb.json", "ckpt/LATEST", "output"])
def test_a_supervisor_may_be_killed_at_every_step(machine: Machine, box: Mailbox, moment: str) -> None:
    """As soon as it has begun, at its first word, after a checkpoint, when the result is there."""
    machine.give(bundle(WITH_FILE))
    machine.start(FAKE_TRAINER=knobs(steps=20, pause_s=0.03, every=4))
    until(lambda: list(machine.home.glob("*/run/processes.json")))
    path = machine.place() / "run" / moment
    until(path.exists)
    try:
        machine.kill("supervisor")
    except ProcessLookupError:
        assert moment == "output", "it had ended"
    assert machine.ends() == 0
    assert box.document("exit.json")["reason"] == "done"
    assert box.get("ckpt/LATEST") == b"20\n"
    assert box.log() == machine.local_log()


def test_a_supervisor_that_dies_again_and_again_ends_the_attempt(machine: Machine, box: Mailbox) -> None:
    """Three are enough: the machine is not kept for a fourth, and what was done is home."""
    machine.start(FAKE_TRAINER=knobs(steps=10**6, pause_s=0.01, every=4))
    killed: set[int] = set()

    def strike() -> bool:
        for path in machine.home.glob("*/run/processes.json"):
            try:
                pid = json.loads(path.read_text())["supervisor"]
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            except (OSError, ValueError):
                continue
        return machine.process is not None and machine.process.poll() is not None

    until(strike)
    assert machine.ends() == 0
    assert len(killed) == 3
    record = box.document("exit.json")
    assert record["reason"] == "failed"
    assert "the supervisor died 3 times" in record["message"]
    assert box.log() == machine.local_log()
