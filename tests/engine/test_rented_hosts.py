"""A slice of the fake Google cloud whose four hosts train together in JAX; one of them dies on the way."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain.trainer import environment
from tests.engine.rented_world import World, events, report, said, steps, wait_for, world
from tests.engine.test_rented_slices import tell
from tests.engine.test_rented_tpu import METHOD, tiny
from tests.engine.test_rented_training import NAME, demo, with_model
from tests.patience import PATIENCE_S
from tests.trainer_fixtures import TEMPLATES, demo_model, trainer_python, warm_python

__all__ = ["demo_model", "trainer_python", "warm_python"]
pytestmark = [pytest.mark.engine, pytest.mark.trainer, pytest.mark.soak]
CHIPS, HOSTS, STEPS = 16, 4, 5
# Looks a second apart: then machines have the heartbeats of real ones, which no busy processor misses.
TIMING = "30,3,0.3,1"
ROWS = (f"micro_batch={CHIPS}", "grad_accum=1")


@pytest.fixture
def rented(tmp_path: Path) -> Iterator[World]:
    """16 chips of v6e, four on each host."""
    environment.ensure("jax", print)
    with world("v6e-16", tmp_path) as made:
        yield made


def losses(log: bytes) -> list[tuple[int, float]]:
    """Every step's, in the order in which they were made; those after the last checkpoint were made twice."""
    return [(event["step"], event["loss"]) for event in events(log, "step")]


def of_one_process(made: World, folder: Path) -> dict[int, float]:
    """The losses of the same job on as many devices of one process that nobody disturbs."""
    (job, *_) = sorted(made.boxes()[-1].folder.glob("cloudtrain/*/run/job.json"))
    document = json.loads(job.read_text())
    document |= {"output": str(folder / "output"), "accelerator": "cpu", "deadline": None}
    document["checkpoint"]["folder"] = str(folder / "ckpt")
    (folder / "job.json").write_text(json.dumps(document))
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    variables["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CHIPS}"
    program = [str(environment.ensure("jax", print)), str(TEMPLATES / "tpu" / "fine_tune.py"), str(folder / "job.json")]
    done = subprocess.run(program, capture_output=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(losses(done.stdout))


def test_a_slice_that_loses_a_host_goes_on_to_equal_losses(rented: World, demo_model: Path, tmp_path: Path) -> None:
    """On another slice, from the checkpoint of host 0, which alone has written one; the adapter comes home."""
    model = tiny(tmp_path / "made" / NAME, demo_model)
    client = demo(with_model(rented, model), model, STEPS, every="1s")
    client.environment["CLOUDTRAIN_SIMULATOR_TIMING"] = TIMING
    process = client.begin(*rented.up, "--spot", METHOD, *ROWS)
    wait_for(lambda: process.poll() is not None or rented.checkpoint(), "a checkpoint")
    assert process.poll() is None, said(client) + rented.machine_logs().decode()
    rented.lose(tell(rented, 2))
    assert process.wait(PATIENCE_S) == 0, said(client)
    assert rented.both.leftovers() == []
    log = rented.log()
    assert sorted(set(steps(log))) == list(range(1, STEPS + 1))
    starts = events(log, "start")
    assert [(start["host"], start["hosts"], start["devices"]["count"]) for start in starts] == [(0, HOSTS, CHIPS)] * 2
    assert starts[1]["resumed_from"] > 0
    assert (client.folder / "mine" / "adapter_model.safetensors").stat().st_size > 1000
    assert [machine["reason"] for machine in report(client)["machines"]] == ["preempted", "done"]
    expected = of_one_process(rented, tmp_path)
    assert [loss for _, loss in losses(log)] == pytest.approx([expected[step] for step, _ in losses(log)], rel=1e-5)
