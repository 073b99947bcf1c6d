"""The real image on a real engine: no NVIDIA library, the trainer runs in it as nobody special, and stops when asked.

Minutes and gigabytes, so only with CLOUDTRAIN_TEST_IMAGE_BASE=IMAGE, which names a base image here that has Python with
venv, CA certificates and PyTorch. One way to have it where PyTorch's own index cannot be reached, on Debian as root
(without OpenBLAS its PyTorch multiplies float32 at a twentieth of the speed, and the tests run out of time):

    mmdebstrap --variant=minbase trixie base.tar \\
      --include=python3,python3-venv,ca-certificates,python3-torch,libopenblas0-openmp
    podman import base.tar localhost/base

In a place that may not raise its limits, podman needs BUILDAH_ISOLATION=chroot and a CONTAINERS_CONF with an empty
default_ulimits; where control groups are of both versions, also `runtime = "runc"`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.trainer import container_engine, image
from tests.trainer_fixtures import TEMPLATES, demo_model, trainer_python

__all__ = ["demo_model", "trainer_python"]
BASE = os.environ.get("CLOUDTRAIN_TEST_IMAGE_BASE", "")
pytestmark = [
    pytest.mark.trainer,
    pytest.mark.skipif(not BASE, reason="CLOUDTRAIN_TEST_IMAGE_BASE names no base image"),
]
NVIDIA = [
    "-iname",
    "*nvidia*",
    "-o",
    "-iname",
    "libcu[dbfprs]*.so*",
    "-o",
    "-iname",
    "libnccl*",
    "-o",
    "-iname",
    "*cuda*.so*",
]


@pytest.fixture(scope="module")
def engine() -> container_engine.Engine:
    """podman or docker, as it is here."""
    try:
        return container_engine.find()
    except UsageError as refused:
        pytest.skip(refused.message)


@pytest.fixture(scope="module")
def name(engine: container_engine.Engine) -> str:
    """The cpu image, built."""
    recipe = image.Recipe("cpu", BASE, "base")
    certificates = next((Path(os.environ[key]) for key in image.CERTIFICATES if os.environ.get(key)), None)
    return image.build(engine, recipe, None, certificates, print)


@pytest.fixture
def job(tmp_path: Path, demo_model: Path) -> Path:
    """A folder with a small job, as the container's user may write it; `steps.json` has as many steps as it is given."""
    shutil.copy(TEMPLATES / "demo" / "capitals.jsonl", tmp_path)
    shutil.copytree(demo_model, tmp_path / "model")
    document = {
        "model": "/job/model",
        "method": "qlora",
        "data": {"path": "/job/capitals.jsonl"},
        "sequence_length": 256,
        "max_steps": 2,
        "checkpoint": {"folder": "/job/checkpoints"},
        "output": "/job/adapter",
    }
    (tmp_path / "job.json").write_text(json.dumps(document))
    (tmp_path / "long.json").write_text(json.dumps({**document, "max_steps": 500}))
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    return tmp_path


def test_the_image_has_no_library_of_nvidia_and_says_so(engine: container_engine.Engine, name: str) -> None:
    """Looked for by name in the whole file system, not by the build's own check; the labels are those of this version."""
    find = ["find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", ")", "-prune", "-o", "(", *NVIDIA, ")"]
    found = engine.ask("run", "--rm", "--user", "0", name, *find, "-print")
    assert found == ""
    (shown,) = [one for one in image.here(engine) if name in one.names]
    assert shown.current
    assert shown.size_bytes < 2_000_000_000


def test_a_run_in_it_needs_neither_network_nor_root(engine: container_engine.Engine, name: str, job: Path) -> None:
    """The trainer, the model and the data are all it needs; its events come out on the standard output."""
    mounted = ["run", "--rm", "--init", "--network=none", "-v", f"{job}:/job", name]
    assert engine.ask(*mounted, "id", "-u") == "1000\n"
    lines = (engine.ask(*mounted, "train", "/job/job.json") or "").splitlines()
    assert json.loads(lines[-1])["event"] == "done"
    assert (job / "adapter" / "adapter_model.safetensors").stat().st_size > 1_000_000


def test_stopping_the_container_leaves_a_checkpoint_and_exit_75(
    engine: container_engine.Engine, name: str, job: Path
) -> None:
    """Without --init too: the entry point is process 1 then."""
    container = f"cloudtrain-test-{os.getpid()}"
    command = ["run", "--name", container, "--network=none", "-v", f"{job}:/job", name, "train", "/job/long.json"]
    with subprocess.Popen([engine.program, *command], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            give_up = time.monotonic() + 120
            for line in process.stdout:
                if '"event": "step"' in line or time.monotonic() > give_up:
                    break
            engine.ask("stop", "-t", "60", container)
            assert process.wait(timeout=90) == 75
        finally:
            engine.ask("rm", "-f", container)
    assert (job / "checkpoints" / "LATEST").read_text().strip().isdigit()
