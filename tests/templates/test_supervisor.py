"""The supervisor tells the truth after any amount of log, and ends a job whose folder has gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cloudtrain.stacks._lifecycle import processes

from cloudtrain.records import Heartbeat
from tests.patience import PATIENCE_S, until

SUPERVISOR = Path(str(files("cloudtrain.templates"))) / "supervisor" / "supervisor.py"
NOISY = """
import json
for step in range(1, 41):
    print("noise " * 16384)
    print(json.dumps({"event": "step", "step": step, "of": 40, "loss": 3.0 / step, "tokens": 100 * step}), flush=True)
"""


def job(folder: Path, program: str) -> None:
    """What the supervisor is told."""
    folder.mkdir()
    told = {"run": folder.name, "argv": [sys.executable, "-c", program], "env": {}, "cwd": str(folder)}
    limits = {"deadline": time.time() + 600, "grace_s": 1.0, "heartbeat_s": 30.0, "attempt": 1}
    (folder / "supervise.json").write_text(json.dumps({**told, **limits}))


def test_the_exit_record_is_complete_after_a_noisy_log(tmp_path: Path) -> None:
    """Four megabytes between two heartbeats."""
    folder = tmp_path / "noisy"
    job(folder, NOISY)
    subprocess.run([sys.executable, str(SUPERVISOR), str(folder)], check=True, timeout=PATIENCE_S)
    found = json.loads((folder / "exit.json").read_text())
    if found["reason"] != "done":
        raise RuntimeError(found)
    assert (found.get("step"), found.get("tokens"), found.get("loss")) == (40, 4000, 0.075)


def test_losses_of_training_and_evaluation_are_kept_apart(tmp_path: Path) -> None:
    """The event of an evaluation has a `loss` of its own; the last event has both, also where no step came before."""
    folder = tmp_path / "evaluated"
    job(folder, "")
    log = import_module("cloudtrain.templates.supervisor.supervisor").Log(str(folder / "log"))
    log.take({"event": "step", "step": 40, "loss": 1.5})
    log.take({"event": "eval", "step": 40, "loss": 1.9})
    assert (log.progress["loss"], log.progress["eval_loss"]) == (1.5, 1.9)
    log.take({"event": "done", "final_loss": 1.4, "eval_loss": None})
    assert (log.progress["loss"], log.progress["eval_loss"]) == (1.4, 1.9)


def test_a_job_whose_folder_has_gone_is_ended(tmp_path: Path) -> None:
    """Nobody can see it or stop it any more."""
    folder = tmp_path / "gone"
    job(folder, "")
    supervisor = import_module("cloudtrain.templates.supervisor.supervisor").Supervisor(str(folder))
    supervisor.heartbeat()
    supervisor.watch()
    if supervisor.stop_reason is not None:
        raise RuntimeError(supervisor.stop_reason)
    shutil.rmtree(folder)
    supervisor.next_heartbeat = 0.0
    supervisor.heartbeat()
    supervisor.watch()
    assert supervisor.stop_reason is not None


def test_supervisor_and_trainer_end_soon_after_their_folder(tmp_path: Path) -> None:
    """Without waiting for a disk that takes the exit record."""
    folder = tmp_path / "gone"
    job(folder, "import time; print('begun', flush=True); time.sleep(600)")
    process = subprocess.Popen([sys.executable, str(SUPERVISOR), str(folder)], start_new_session=True)
    try:
        until((folder / "hb.json").exists, "a heartbeat")
        shutil.rmtree(folder)
        assert process.wait(120) == 0
    finally:
        process.kill()
    assert not folder.exists()


def test_the_guard_ends_a_job_without_folder_and_supervisor(tmp_path: Path) -> None:
    """By the numbers of the processes that it has read before."""
    folder = tmp_path / "both"
    job(folder, "import time; time.sleep(600)")
    process = subprocess.Popen([sys.executable, str(SUPERVISOR), str(folder)], start_new_session=True)
    try:
        until((folder / "processes.json").exists, "the processes")
        trainer = json.loads((folder / "processes.json").read_text())["trainer"]
        time.sleep(3.0)  # the guard looks every second
        process.kill()
        process.wait()
        shutil.rmtree(folder)
        until(lambda: trainer not in {found.pid for found in processes.tagged("both")}, "the end of the trainer")
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("busy", "own", "seconds", "share"),
    [(80.0, 40.0, 10.0, 0.5), (40.0, 40.0, 10.0, 0.0), (99.0, 0.0, 10.0, 1.0), (None, 1.0, 10.0, None)],
)
def test_what_others_had_of_the_machine_is_noted(
    monkeypatch: pytest.MonkeyPatch, busy: float | None, own: float, seconds: float, share: float | None
) -> None:
    """Of eight processors: all that was busy, less the trainer's own."""
    module = import_module("cloudtrain.templates.supervisor.supervisor")
    monkeypatch.setattr(module.os, "cpu_count", lambda: 8)
    assert module.others_share(busy, own, seconds) == share


def test_the_exit_record_holds_the_load(tmp_path: Path) -> None:
    """A share, where the system counts its processors' time."""
    folder = tmp_path / "loaded"
    job(folder, "import time; time.sleep(1)")
    subprocess.run([sys.executable, str(SUPERVISOR), str(folder)], check=True, timeout=PATIENCE_S)
    found = json.loads((folder / "exit.json").read_text())["load"]
    assert 0 <= found <= 1 if Path("/proc/stat").exists() else found is None


def paced_supervisor(folder: Path, **rest: object) -> Any:
    """One whose trainer has made 60 of 1,000 steps of a second; `rest` of its orders."""
    job(folder, "")
    told = json.loads((folder / "supervise.json").read_text())
    (folder / "supervise.json").write_text(json.dumps({**told, "rest": rest}))
    supervisor = import_module("cloudtrain.templates.supervisor.supervisor").Supervisor(str(folder))
    for step in range(1, 61):
        supervisor.log.take({"event": "step", "step": step, "of": 1000, "time": 1000.0 + step})
    return supervisor


def told_events(folder: Path) -> list[str]:
    """The names of its events."""
    path = folder / "events.jsonl"
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(
    ("cap_s", "ends_s", "stops", "events", "reason"),
    [
        (1600.0, 5000.0, True, [], None),  # 940 s (893 .. 987) x 1.5, and 100 s: 1510 s likely, 1580.5 s at the worst
        (1550.0, 5000.0, True, ["above cap", "stopping"], "over_cap"),
        (1550.0, 1550.0, False, ["above cap"], None),
        (1400.0, 1300.0, False, ["above cap", "late"], None),
        (None, 1300.0, False, ["late"], None),
    ],
)
def test_what_will_not_do_is_told_once(
    tmp_path: Path, cap_s: float | None, ends_s: float, stops: bool, events: list[str], reason: str | None
) -> None:
    """And ends the job where that was asked for."""
    cap = {} if cap_s is None else {"cap_at": 5000.0 + cap_s}
    folder = tmp_path / "paced"
    supervisor = paced_supervisor(
        folder, along=0.5, after_s=100.0, ends_at=5000.0 + ends_s, stop_above_cap=stops, **cap
    )
    for _ in range(3):
        supervisor.foresee(5000.0)
    assert (told_events(folder), supervisor.stop_reason) == (events, reason)


def test_heartbeat_and_exit_record_hold_the_pace(tmp_path: Path) -> None:
    """From 50 steps on, with what was told first."""
    folder = tmp_path / "paced"
    supervisor = paced_supervisor(folder)
    supervisor.next_heartbeat = 0.0
    supervisor.heartbeat()
    paced = json.loads((folder / "hb.json").read_text())["paced"]
    assert (paced["steps"], paced["seconds"], paced["first"]["step"]) == (59, 59.0, 50)
    assert paced["left_s"][1] == 940.0
    assert Heartbeat.model_validate_json((folder / "hb.json").read_text(), extra="allow").paced is not None
