"""The real trainer environment and the demo's real model, made on first use and kept, as fixtures for any test.

Import them in a conftest.py: `from tests.trainer_fixtures import demo_model, trainer_python`.

`trainer_python` is the environment's own interpreter. `warm_python` is called like it and begins in a fork of a process
that has imported PyTorch already (`tests/warm_python`): 10 seconds of a processor less a start.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from cloudtrain import backends
from cloudtrain.settings import cache_folder
from cloudtrain.trainer import environment
from tests.warm_python import WarmPython

TEMPLATES = Path(str(files("cloudtrain.templates")))
REAL_STARTS = bool(os.environ.get("CLOUDTRAIN_REAL_STARTS"))  # of the soak: no fork plays the interpreter


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


@pytest.fixture(scope="session")
def jax_python() -> Path:
    """The Python of the environment with JAX for processors."""
    return environment.ensure("jax", print)


@pytest.fixture(scope="session")
def warm_python(trainer_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program like `trainer_python` that need not import PyTorch."""
    yield from warm("cpu", trainer_python, tmp_path_factory)


@pytest.fixture(scope="session")
def warm_longcat(longcat_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program like `longcat_python` that need not import PyTorch."""
    yield from warm("longcat", longcat_python, tmp_path_factory)


@pytest.fixture
def warm_cache(warm_python: Path, trainer_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache as a test's commands see it: all that is in the real one, with `warm_python` in its place."""
    environment_folder, cache = trainer_python.parent.parent, tmp_path / "warm-cache"
    for source in (environment_folder.parent, cache_folder()):
        target = cache / source.relative_to(cache_folder())
        target.mkdir(parents=True, exist_ok=True)
        for each in source.iterdir():
            if each not in (environment_folder, environment_folder.parent) and each.suffix != ".lock":
                (target / each.name).symlink_to(each)
    warm_folder = cache / environment_folder.relative_to(cache_folder()) / "bin"
    warm_folder.mkdir(parents=True)
    (warm_folder / "python").symlink_to(warm_python)
    monkeypatch.setenv("CLOUDTRAIN_CACHE", str(cache))
    return cache


def warm(flavour: str, python: Path, factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The warm interpreter of a flavour, shared by the workers of a test run; the real one where nothing can be forked."""
    if REAL_STARTS or sys.platform != "linux":
        yield python
        return
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = WarmPython(python, shared / f"warm-{flavour}", backends.of_flavour("cpu").variables("cpu"))
    yield made.program
    made.lease.close()
