"""The number type of real trainings: chosen, reported, kept over a resume; and the real measurement."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.templates.conftest import ONE_THREAD, TORCH, Bench

pytestmark = pytest.mark.trainer


@pytest.mark.soak
def test_this_machine_is_measured(bench: Bench) -> None:
    """Both rates are those of a processor, whichever is higher here."""
    command = [str(bench.real), str(TORCH / "measure.py"), "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for name in ("bf16_flops_per_s", "fp32_flops_per_s"):
        assert 1e7 < found[name] < 1e14
    assert found["threads"] == 1
    assert found["load"] is None or 0 <= found["load"] <= 1
    costs = [found[name] for name in ("bf16_costs", "fp32_costs") if found[name]]
    assert costs  # the trainer's own steps ran
    assert all(0 < cost < 1e14 for each in costs for cost in each.values())
    assert all(each["unpack_s"] < 1e-6 and each["element_s"] < 1e-4 for each in costs)


def test_a_resumed_training_keeps_its_type(bench: Bench, tmp_path: Path) -> None:
    """One in float32, stopped and started again by a job that leaves it to the machine, makes the same losses."""
    whole = bench.train(tmp_path / "whole", compute="fp32")
    assert whole.code == 0, whole.stderr[-2000:]
    assert whole.one("compute")["type"] == "fp32"
    folder = tmp_path / "stopped"
    stopped = bench.until_step(bench.start(bench.job(folder, compute="fp32")), 2, signal.SIGTERM, folder)
    assert stopped.code == 75
    resumed = bench.train(folder)
    assert resumed.code == 0, resumed.stderr[-2000:]
    told = resumed.one("compute")
    assert (told["type"], told["why"]) == ("fp32", "as the checkpoint was computed in")
    assert {**stopped.losses, **resumed.losses} == whole.losses


def test_a_new_training_reports_what_it_measured(bench: Bench, tmp_path: Path) -> None:
    """The type is the faster one, by the rates that stand beside it."""
    told = bench.train(tmp_path, compute="measured", max_steps=1).one("compute")
    if "bf16_flops_per_s" not in told:  # a processor without kernels for it
        assert told["type"] == "fp32"
    else:
        assert (told["type"] == "fp32") == (told["fp32_flops_per_s"] >= 1.1 * told["bf16_flops_per_s"])
