"""`cloudtrain up --backend`: a run that the torch trainer began goes on in JAX on this machine, and is answered for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudtrain.trainer import environment
from tests.patience import PATIENCE_S
from tests.runs.test_real_runs import Desk, demo_model, tiny_model, trainer_python, warm_cache, warm_python

__all__ = ["demo_model", "tiny_model", "trainer_python", "warm_cache", "warm_python"]  # fixtures
pytestmark = pytest.mark.trainer


@pytest.fixture(scope="module", autouse=True)
def jax_python() -> Path:
    """JAX's environment, in the real cache before a test has one of its own."""
    return environment.ensure("jax", print)


@pytest.fixture
def desk(tmp_path: Path, tiny_model: Path, own_world: Path, warm_cache: Path) -> Desk:
    """A place to work at."""
    return Desk(tmp_path, tiny_model, own_world / "state")


def test_a_run_goes_on_with_the_trainer_asked_for(desk: Desk) -> None:
    """Begun by PyTorch, ended by `down`, finished by JAX: every step once, one result, one report."""
    client = desk.start("up", "-y", "--infra", "local")
    desk.wait_for_step(12)
    assert desk.run("down", desk.record.id)[0] == 0
    client.communicate(timeout=PATIENCE_S)
    code, _, err = desk.run("up", "-y", "--infra", "local", "--backend", "tpu", "--to", "home")
    assert code == 0, err
    first, second = desk.events("start")
    assert "devices" not in first
    assert second["devices"]["kind"] == "cpu"
    assert second["resumed_from"] > 0
    metrics = json.loads((desk.folder / "home" / "metrics.json").read_text())
    assert [step for step, _ in metrics["losses"]] == list(range(1, 41))
    assert desk.json("report", desk.record.id)["run"] == desk.record.id


def test_an_unknown_trainer_is_named_with_the_nearest(desk: Desk) -> None:
    """Before anything is made or asked."""
    code, _, err = desk.run("up", "-y", "--infra", "local", "--backend", "tpus")
    assert (code, "did you mean `tpu`?" in err) == (2, True), err
