"""Run in the JAX environment: many runs of the trainer in one process, each as its own program would end.

python runs.py PLAN, a JSON list of {"job": path, "out": path, "signal_at": step?, "largest_file": bytes?}. What a run
writes to its standard output goes to `out`; the exit codes are printed as one JSON list.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import fine_tune
from reports import Reports

tell = Reports.step


def run(plan: dict[str, Any]) -> int:
    """One run; a signal comes while its step `signal_at` is told."""

    def step(self: Reports, at: int, loss: float, rate: float) -> None:
        tell(self, at, loss, rate)
        if at == plan.get("signal_at"):
            os.kill(os.getpid(), signal.SIGTERM)

    Reports.step = step  # type: ignore[method-assign]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if "largest_file" in plan:
        resource.setrlimit(resource.RLIMIT_FSIZE, (plan["largest_file"], limits[1]))
    own, target = os.dup(1), os.open(plan["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    try:
        return fine_tune.main([plan["job"]])
    finally:
        os.dup2(own, 1)
        for each in (own, target):
            os.close(each)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


codes = [run(plan) for plan in json.loads(Path(sys.argv[1]).read_text())]
print(json.dumps(codes))
