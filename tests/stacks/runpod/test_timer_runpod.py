"""The timer in the pod, as a real process against the fake: it ends its pod at the deadline, whatever happens."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.providers import Stack, load
from cloudtrain.simulator.runpod import RunpodCloud
from tests.patience import until

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunpodCloud]:
    """A fake RunPod on the real clock, in which only real processes end pods."""
    fake = RunpodCloud()
    fake.pods.guests = False
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.stop()


def make(seconds: float) -> str:
    """A pod of ours whose time is over in so many seconds; its id."""
    cloud = load("stacks", "runpod", Stack).cloud
    assert cloud is not None
    inputs: dict[str, Any] = {"run": "one", "attempt": 1, "name": "ct-0123abcd-1-xtlq0zk", "place": {}, "image": "i"}
    inputs |= {"disk_gb": 20, "data_centers": [], "cpu": {"id": "cpu5c", "count": 2}, "expires": time.time() + seconds}
    return cloud.drivers["pod"].create(inputs).id


@pytest.fixture
def start(fake: RunpodCloud, tmp_path: Path) -> Iterator[Start]:
    """Start a pod's container process: its arguments and its environment, nothing else."""
    (tmp_path / "python3").symlink_to(sys.executable)
    begun: list[subprocess.Popen[bytes]] = []

    def start(pod: str, shell: bool = False, output: int = subprocess.DEVNULL, **more: str) -> subprocess.Popen[bytes]:
        args = str(fake.pods.get(pod).body["args"])
        environment: Mapping[str, str] = {
            **fake.pod_environment(pod),
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CLOUDTRAIN_RETRY_S": "0.05",
            **more,
        }
        argv = ["sh", "-c", args] if shell else shlex.split(args)
        begun.append(subprocess.Popen(argv, env=environment, stdout=output, start_new_session=True))
        return begun[-1]

    yield start
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def wait_until_gone(fake: RunpodCloud) -> None:
    """Until nothing is left at the fake."""
    until(lambda: not fake.leftovers())


@pytest.mark.parametrize("shell", [False, True])
def test_it_ends_its_pod_at_the_deadline_and_stays(fake: RunpodCloud, start: Start, shell: bool) -> None:
    """Not before, and without returning, because RunPod would start it again; split into words or by a shell."""
    deadline = time.time() + 1.0
    pod = make(1.0)
    process = start(pod, shell)
    wait_until_gone(fake)
    assert time.time() >= int(deadline)
    assert process.poll() is None


def test_a_restarted_container_keeps_its_deadline(fake: RunpodCloud, start: Start) -> None:
    """The deadline is an instant: a new start of the process does not move it."""
    pod = make(1.0)
    first = start(pod)
    first.kill()
    first.wait()
    fake.pods.exit_process(pod)
    time.sleep(0.5)
    start(pod)
    wait_until_gone(fake)


@pytest.mark.parametrize("kind", ["dropped", "unavailable", "throttled", "refused"])
def test_it_asks_until_it_is_done(fake: RunpodCloud, start: Start, kind: Any) -> None:
    """No answer and no refusal ends it."""
    pod = make(0.0)
    fake.faults.add("deletePod", kind, times=3)
    fake.faults.add("podTerminate", "unavailable", times=3)
    start(pod)
    wait_until_gone(fake)
    assert fake.calls.count("deletePod") >= 4  # it may have asked once more before it saw the end


def test_without_the_right_to_delete_it_terminates_by_the_old_api(fake: RunpodCloud, start: Start) -> None:
    """Nobody has proven the right of a pod's key in the new API."""
    fake.pods.self_delete = False
    start(make(0.0))
    wait_until_gone(fake)
    assert fake.calls[1:3] == ["deletePod", "podTerminate"]


def test_without_a_deadline_the_time_is_over(fake: RunpodCloud, start: Start) -> None:
    """A pod that does not know its end ends now."""
    start(make(3600.0), CLOUDTRAIN_DEADLINE="soon", CLOUDTRAIN_RETRY_S="often")
    wait_until_gone(fake)


def test_a_closed_output_does_not_end_it(fake: RunpodCloud, start: Start) -> None:
    """Whoever read its lines may be gone."""
    readable, writable = os.pipe()
    os.close(readable)
    fake.faults.add("deletePod", "unavailable", times=2)
    process = start(make(0.0), output=writable)
    os.close(writable)
    wait_until_gone(fake)
    assert process.poll() is None


def test_before_the_deadline_it_asks_nobody(fake: RunpodCloud, start: Start) -> None:
    """It waits."""
    start(make(3600.0))
    time.sleep(0.5)
    assert fake.calls == ["createPod"]


def test_it_fits_an_old_python_and_small_limits() -> None:
    """Python 3.9 reads it, it imports the standard library alone, and the arguments are short and plain."""
    source = files("cloudtrain.templates").joinpath("machine", "runpod_timer.py").read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    imported = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    assert imported <= set(sys.stdlib_module_names)
    args = importlib.import_module("cloudtrain.stacks.runpod.pods").timer_args()
    assert len(args) < 4000
    assert args.isprintable()
    assert not set("$`\\!") & set(args)
