"""Every family that the compatibility table calls `yes` on a CPU is trained here, on a small copy.

Those of the registry by whole runs of the trainer, the others, and those that only load, by one step in one process.
"""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from cloudtrain.models import registry
from cloudtrain.models.families import FAMILIES
from cloudtrain.models.hybrid import KINDS
from cloudtrain.quote.compatibility import entries
from tests.templates.conftest import ONE_THREAD, WITH_ITS_MODULES, Bench

pytestmark = [pytest.mark.trainer, pytest.mark.xdist_group("families")]  # they share what was made once
NAMED = {spec.family for spec in registry.all_models()}
CALLED_YES = {
    family
    for entry in entries()
    if entry.backend == "torch-cpu" and entry.found.verdict == "yes"
    for family in entry.families
}
ELSEWHERE = {"longcat_flash", "longcat_flash_ngram"}  # packages of its own, and none
DENSE = sorted((CALLED_YES & NAMED) - ELSEWHERE)
OTHERS = sorted({*FAMILIES, *KINDS} - set(DENSE) - ELSEWHERE)


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


def test_every_other_family_makes_a_step(warm_python: Path, tmp_path: Path) -> None:
    """Packed in 4 bit by the trainer's loader, adapted as it adapts: a finite loss, and a gradient for each adapter."""
    script = Path(__file__).with_name("more_families.py")
    words = [str(word) for word in (warm_python, script, tmp_path, *OTHERS)]
    quiet = {**WITH_ITS_MODULES, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr[-2000:]
    came = json.loads(done.stdout.splitlines()[-1])
    wrong = {
        family: found
        for family, found in came.items()
        if "error" in found or found["untrained"] or not math.isfinite(found["loss"]) or not found["packed"]
    }
    assert not wrong
    assert [family for family, found in came.items() if found["dropout"]] == []  # of the models' own attention
    assert set(came) == set(OTHERS) >= CALLED_YES - NAMED
    dense = [found["adapted"] for family, found in came.items() if family in CALLED_YES]
    assert all({"q_proj", "down_proj"} <= set(adapted) for adapted in dense)
