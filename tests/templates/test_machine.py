"""The machine: cores under a quota, the deadline guard, failures told apart."""

from __future__ import annotations

import errno
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import failures
import machine
import pytest

from tests.patience import PATIENCE_S
from tests.templates.conftest import COMMON, TORCH

STUBBORN = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
import machine
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
machine.guard_deadline(time.time() + 0.2, 0.3, lambda reason: print(reason, flush=True))
while True:
    pass
"""


def test_the_guard_ends_the_process_after_deadline_and_grace() -> None:
    """A process that ignores SIGTERM and never sleeps still ends, with the code of a resumable stop."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN, COMMON], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 75
    assert done.stdout.split() == ["deadline", "asked"]
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
    ],
)
def test_quotas_of_both_control_group_versions_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: float
) -> None:
    """No limit is infinite; half a core is half."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path)
    assert machine.cpu_quota() == cores


def test_threads_follow_a_quota_unless_somebody_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota of 1.5 cores on many makes 2 threads; OMP_NUM_THREADS given from outside stays."""
    monkeypatch.setattr(machine, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert machine.set_threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine.set_threads() == 7


def test_peak_memory_is_this_process_own() -> None:
    """The figure is in bytes and grows with what is allocated."""
    before = machine.peak_bytes()
    block = b"x" * (before + 50_000_000)
    assert before > 5_000_000
    assert machine.peak_bytes() >= len(block)


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (MemoryError(), "out_of_memory", 137),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
            "out_of_memory",
            137,
        ),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), "out_of_memory", 137),
        (OSError(errno.ENOSPC, "No space left on device"), "save_failed", 1),
        (ZeroDivisionError("division by zero"), "unexpected", 1),
        (failures.NoAccelerator("absent"), "no_accelerator", 70),
    ],
)
def test_errors_are_told_apart(error: BaseException, code: str, exit_code: int) -> None:
    """Memory and disk are recognised by what libraries raise; the rest is unexpected."""
    failure = failures.as_failure(error)
    assert (failure.code, failure.exit_code) == (code, exit_code)
    assert "\n" not in str(failure)


UNHEARD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from events import claim_stdout
events = claim_stdout()
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, events._stream.fileno())
events.emit("step", loss=float("nan"))
events.emit("step", loss=1.0)
print("went on", file=sys.stderr)
"""


def test_a_trainer_goes_on_when_nobody_reads_its_events() -> None:
    """A dead supervisor's closed pipe does not end the work."""
    done = subprocess.run([sys.executable, "-c", UNHEARD, COMMON], capture_output=True, text=True, check=False)
    assert done.stderr == "went on\n"


def test_events_are_json_and_prints_of_libraries_are_kept_out() -> None:
    """A loss that is no number is null; what anybody prints goes to the standard error."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); from events import claim_stdout; e = claim_stdout(); print('noise', flush=True); e.write({'loss': float('nan'), 'step': 1})"
    done = subprocess.run([sys.executable, "-c", code, COMMON], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ('{"loss": null, "step": 1}\n', "noise\n")


WRAPPED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import train, course, machine
machine.start_again_with_environment = lambda accelerator: None
def work(job, back_end, events, stop, began):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(3600)
    except BaseException as error:
        if sys.argv[3] == "early":
            raise RuntimeError("could not import module") from error
        stop.act = lambda: None
        raise RuntimeError("broken while training")
course.fine_tune = work
sys.exit(train.main([sys.argv[2]]))
"""


@pytest.mark.parametrize(("when", "code", "event"), [("early", 75, "stopped"), ("late", 1, "error")])
def test_a_stop_while_libraries_load_is_always_a_stop(tmp_path: Path, when: str, code: int, event: str) -> None:
    """A lazy import turns the interruption into an error of its own; one of the training stays an error."""
    places = {"checkpoint": {"folder": str(tmp_path / "ckpt")}, "output": str(tmp_path / "output")}
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"model": "m", "data": {"path": "/d"}, "sequence_length": 128, **places}))
    command = [sys.executable, "-c", WRAPPED, str(TORCH), str(job), when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert json.loads(done.stdout)["event"] == event


def test_one_of_several_device_files_is_enough(tmp_path: Path) -> None:
    """Generations of one accelerator have drivers with names of their own."""
    about = {"device_file": [str(tmp_path / "new"), str(tmp_path / "old0")], "absent": "no such thing here"}
    with pytest.raises(failures.NoAccelerator, match="no such thing here"):
        machine.look_for_accelerator(about)
    (tmp_path / "old0").touch()
    machine.look_for_accelerator(about)
    with pytest.raises(failures.NoAccelerator):
        machine.look_for_accelerator({**about, "device_file": str(tmp_path / "new")})


@pytest.mark.parametrize("opened", ["accel0", "accel3", "vfio/0"])
def test_who_holds_the_accelerator_is_named(tmp_path: Path, opened: str) -> None:
    """One process at a time has the chips, whichever of them it has opened; who holds nothing is in nobody's way."""
    (tmp_path / "vfio").mkdir()
    for name in ("accel0", "accel3", "vfio/0", "else"):
        (tmp_path / name).touch()
    about = {"device_file": [str(tmp_path / "vfio"), str(tmp_path / "accel0")], "alone": True, "absent": ""}
    hold = "import sys, time; file = open(sys.argv[1]); print('here', flush=True); time.sleep(600)"
    for name, is_held in (("else", False), (opened, True)):
        words = [sys.executable, "-c", hold, str(tmp_path / name)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
            assert other.stdout
            other.stdout.readline()
            try:
                if not is_held:
                    machine.look_for_accelerator(about)
                    continue
                with pytest.raises(failures.NoAccelerator, match=f"held by process {other.pid} "):
                    machine.look_for_accelerator(about)
                machine.look_for_accelerator({**about, "alone": False})
            finally:
                other.kill()


def test_a_trainer_knows_which_host_it_is_on() -> None:
    assert machine.this_host({}) == machine.Host(0, 1, "")
    told = {"CLOUDTRAIN_HOST": "2", "CLOUDTRAIN_HOSTS": "4", "CLOUDTRAIN_COORDINATOR": "10.0.0.2:21000"}
    assert machine.this_host(told) == machine.Host(2, 4, "10.0.0.2:21000")
