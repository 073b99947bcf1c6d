"""Runs of the TPU trainer on the processor, many in one process, on the tiny model of the torch trainer's tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudtrain.trainer import environment
from tests.templates.conftest import COMMON, Bench, Ended
from tests.trainer_fixtures import TEMPLATES

TPU = TEMPLATES / "tpu"
Runs = Callable[[dict[str, dict[str, Any]]], dict[str, Ended]]


@pytest.fixture(scope="session")
def jax_python() -> Path:
    """The Python of the JAX environment."""
    return environment.ensure("jax", print)


@pytest.fixture(scope="session")
def jax_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of the trainer's process: its modules found, and what was compiled once not compiled again."""
    compiled = tmp_path_factory.mktemp("compiled")
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "PYTHONPATH": f"{TPU}:{COMMON}",
    }


@pytest.fixture(scope="session")
def train_all(
    bench: Bench, jax_python: Path, jax_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """Runs by their names, one after another in one process: {name: changes of the job}.

    `folder` in the changes names the folder of another run, to go on in it; `signal_at` and `largest_file` are those of
    `runs.py`.
    """

    def call(wanted: dict[str, dict[str, Any]]) -> dict[str, Ended]:
        root, plans, folders = tmp_path_factory.mktemp("tpu"), [], {}
        for name, asked in wanted.items():
            changes = dict(asked)
            folders[name] = Path(changes.pop("folder", root / name))
            hows = {key: changes.pop(key) for key in ("signal_at", "largest_file") if key in changes}
            job = bench.job(folders[name], **{"compute": "fp32", **changes}).rename(folders[name] / f"{name}.json")
            plans.append({"job": str(job), "out": str(folders[name] / f"{name}.out"), **hows})
        (root / "plan.json").write_text(json.dumps(plans))
        command = [str(jax_python), str(Path(__file__).with_name("runs.py")), str(root / "plan.json")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=jax_environment)
        assert done.returncode == 0, done.stderr[-3000:]
        ended = {}
        for (name, plan), code in zip(zip(wanted, plans, strict=True), json.loads(done.stdout), strict=True):
            events = [json.loads(line) for line in Path(plan["out"]).read_text().splitlines()]
            ended[name] = Ended(code, events, folders[name], done.stderr)
        return ended

    return call
