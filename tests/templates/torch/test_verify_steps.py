"""The program behind --verify of PyTorch, for real: steps on fake tensors against what was measured."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models import config, registry
from cloudtrain.trainer.verify import Verified, verify
from cloudtrain.units import GIB
from tests.estimate.cases import measured_options, measured_spec, rows
from tests.trainer_fixtures import TEMPLATES

VERIFY = TEMPLATES / "verify"
CONFIGS = Path(__file__).parents[2] / "cases" / "configs"
LAST_DIGIT_GIB = 0.0001  # of the measured rows: the packages are locked, so the proof repeats them exactly


def truth(name: str, row_id: str) -> dict[str, str]:
    """A measured row."""
    return next(row for row in rows(name) if row["id"] == row_id)


def proven(row_id: str) -> tuple[Verified, float]:
    """The proof of a row of memory_truth.csv, and the measured GiB."""
    row = truth("memory_truth.csv", row_id)
    return verify(measured_spec(row["model"]), measured_options(row), print), float(row["peak_gib"])


@pytest.mark.parametrize("path", sorted(VERIFY.glob("*.py")), ids=lambda path: path.name)
def test_a_proving_program_never_imports_the_client(path: Path) -> None:
    """Its environment has the packages of its lock, and no cloudtrain."""
    tree = ast.parse(path.read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("cloudtrain")]


@pytest.mark.trainer
@pytest.mark.parametrize("row_id", ["g01", "x43", "x05"])
def test_a_step_on_fake_tensors_needs_what_was_measured(warm_cache: Path, row_id: str) -> None:
    """Full, LoRA and QLoRA of small models: the peak of the measured rows to the last digit."""
    found, measured = proven(row_id)
    assert found.peak_bytes / GIB == pytest.approx(measured, abs=LAST_DIGIT_GIB)
    assert found.parts is not None
    assert sum(found.parts.values()) == found.peak_bytes
    assert found.phase == "backward"


@pytest.mark.soak
@pytest.mark.trainer
def test_longcat_is_proven_on_this_machine(warm_cache: Path) -> None:
    """The 560 B model under QLoRA at 2048 tokens: what was measured, and within 2 % of the estimate."""
    found, measured = proven("g69")
    assert found.peak_bytes / GIB == pytest.approx(measured, abs=LAST_DIGIT_GIB)
    row = truth("memory_truth.csv", "g69")
    assert found.peak_bytes == pytest.approx(
        estimate(measured_spec(row["model"]), measured_options(row)).peak_bytes, rel=0.02
    )


@pytest.mark.trainer
def test_a_models_own_attention_dropout_holds_no_scores(warm_cache: Path) -> None:
    """Seed-OSS publishes 0.1; the trainer switches it off, and so does the proof: the estimate holds within 2 %."""
    spec = config.read(CONFIGS / "A38-seed-oss-36b")
    options = Options(method="lora", layers=2, sequence_length=4096)
    found = verify(spec, options, print)
    assert found.peak_bytes == pytest.approx(estimate(spec, options).peak_bytes, rel=0.02)


@pytest.mark.trainer
def test_our_longcat_recipe_unpacks_one_expert_at_a_time(warm_cache: Path) -> None:
    """Two layers of it: a layer's experts are never all in 16 bit, and the estimate holds within 2 %."""
    options = Options(layers=2, targets="attention", adapter_dtype="bf16")
    spec = registry.find("longcat-flash")
    found = verify(spec, options, print)
    assert found.peak_bytes == pytest.approx(estimate(spec, options).peak_bytes, rel=0.02)
    layer = 2 * spec.params_experts // spec.shape.layers
    assert found.peak_bytes < estimate(spec, options._replace(expert_dequant="layer")).peak_bytes - 0.9 * layer
