"""Every family that the compatibility table calls `yes` on a CPU is trained here, on a two-layer copy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cloudtrain.quote.compatibility import entries
from tests.templates.conftest import ONE_THREAD, Bench

pytestmark = pytest.mark.trainer
DENSE = sorted(
    family
    for entry in entries()
    if entry.backend == "torch-cpu" and entry.found.verdict == "yes" and "longcat_flash" not in entry.families
    for family in entry.families
)


@pytest.fixture(scope="module")
def models(bench: Bench, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random model of each family."""
    folder = tmp_path_factory.mktemp("families")
    script = Path(__file__).with_name("families.py")
    words = [str(word) for word in (bench.python, script, demo_model, folder, *DENSE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("family", DENSE)
def test_a_family_that_is_called_trainable_trains(bench: Bench, models: Path, tmp_path: Path, family: str) -> None:
    """QLoRA on all linear layers: two steps, finite losses, adapters on attention and feed-forward, a result."""
    ended = bench.train(tmp_path, model=str(models / family), method="qlora", max_steps=2)
    assert ended.code == 0, (ended.events[-2:], ended.stderr[-1500:])
    assert len(ended.losses) == 2
    assert (tmp_path / "output" / "adapter_model.safetensors").is_file()
