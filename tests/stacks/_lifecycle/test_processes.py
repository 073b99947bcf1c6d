"""Which processes of this machine are a run's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from cloudtrain.simulator import sandbox
from tests.patience import until

processes: Any = import_module("cloudtrain.stacks._lifecycle.processes")
RUN = f"run-of-worker-{os.getpid()}"  # the tests of this file may run beside each other


@contextmanager
def process(**marks: str) -> Iterator[int]:
    """A process that carries them."""
    started = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(900)"],
        env={**os.environ, **marks},
        stdout=subprocess.PIPE,
    )
    try:
        assert started.stdout
        until(started.stdout.readline)
        yield started.pid
    finally:
        started.kill()
        started.communicate()


def found(states: tuple[str, ...] | None = None) -> list[tuple[int, str]]:
    """Those of the run, with the id of their state."""
    return [(each.pid, each.state) for each in processes.tagged(RUN, states)]


def test_a_process_is_its_states() -> None:
    """By both marks; without the second it is an older version's."""
    with process(CLOUDTRAIN_RUN=RUN, CLOUDTRAIN_RUN_STATE="0123abcd") as new, process(CLOUDTRAIN_RUN=RUN) as old:
        assert sorted(found()) == sorted([(new, "0123abcd"), (old, "")])
        assert found(("0123abcd",)) == [(new, "0123abcd")]
        assert found(("",)) == [(old, "")]


def test_a_simulated_machine_is_not_this_machine() -> None:
    """What runs on it carries the run's mark, and `down` of a local run of that name leaves it alone."""
    assert processes.SIMULATED == sandbox.MARK
    with process(CLOUDTRAIN_RUN=RUN, **{sandbox.MARK: "x"}):
        assert found() == []
