"""The real trainer environment and the demo's real model, made on first use and kept, as fixtures for any test.

Import them in a conftest.py: `from tests.trainer_fixtures import demo_model, trainer_python`.
"""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from cloudtrain.trainer import environment

TEMPLATES = Path(str(files("cloudtrain.templates")))


@pytest.fixture(scope="session")
def trainer_python() -> Path:
    """The Python of the trainer's environment (flavour cpu)."""
    return environment.ensure("cpu", print)


@pytest.fixture(scope="session")
def demo_model(trainer_python: Path) -> Path:
    """SmolLM2-135M-Instruct as a model folder."""
    script = TEMPLATES / "demo" / "prepare_model.py"
    command = [str(trainer_python), str(script), "--uv", environment.uv_binary()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def longcat_python() -> Path:
    """The Python of the environment that can load LongCat-Flash."""
    return environment.ensure("longcat", print)
