"""The programs behind --verify, for real: PyTorch on fake tensors and the TPU compiler, against what was measured."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models import config, registry
from cloudtrain.trainer.verify import Verified, verify
from cloudtrain.units import GIB
from tests.estimate.cases import compiled_options, measured_options, measured_spec, rows
from tests.trainer_fixtures import TEMPLATES

VERIFY = TEMPLATES / "verify"
CONFIGS = Path(__file__).parents[2] / "cases" / "configs"
TWO_LAYERS_BYTES = 195_942_400  # said by the locked compiler on 2026-11-30
LAST_DIGIT_GIB = 0.0001  # of the measured rows: the packages are locked, so the proof repeats them exactly


@pytest.fixture(scope="module")
def tpu_step() -> ModuleType:
    """The program, imported: JAX is only imported when it compiles."""
    about = importlib.util.spec_from_file_location("tpu_step", VERIFY / "tpu_step.py")
    assert about is not None
    assert about.loader is not None
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    return module


def truth(name: str, row_id: str) -> dict[str, str]:
    """A measured row."""
    return next(row for row in rows(name) if row["id"] == row_id)


def proven(row_id: str) -> tuple[Verified, float]:
    """The proof of a row of memory_truth.csv, and the measured GiB."""
    row = truth("memory_truth.csv", row_id)
    return verify(measured_spec(row["model"]), measured_options(row), print), float(row["peak_gib"])


def compiled(row_id: str) -> tuple[Verified, float]:
    """The proof of a row of tpu_truth.csv, and the compiled GiB."""
    row = truth("tpu_truth.csv", row_id)
    return verify(registry.find(row["model"]), compiled_options(row), print), float(row["hbm_gib"])


@pytest.mark.parametrize("path", sorted(VERIFY.glob("*.py")), ids=lambda path: path.name)
def test_a_proving_program_never_imports_the_client(path: Path) -> None:
    """Its environment has the packages of its lock, and no cloudtrain."""
    tree = ast.parse(path.read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("cloudtrain")]


def test_the_compilers_lock_has_what_was_asked_for() -> None:
    """Each requirement is pinned at its version."""
    wanted = re.findall(r"^(\S+==\S+)$", (VERIFY / "tpu-compiler.in").read_text(), re.MULTILINE)
    lock = (VERIFY / "tpu-compiler.lock").read_text()
    assert len(wanted) == 3
    assert all(f"{pinned} \\" in lock for pinned in wanted)


@pytest.mark.parametrize(
    ("message", "gib"),
    [
        ("RESOURCE_EXHAUSTED: ... Used 19.48G of 15.75G hbm. Exceeded hbm capacity by 3.73G.", (19.48, 15.75)),
        ("allocation (40.50G) exceeds available HBM (31.25G)", (40.5, 31.25)),
        ("Used 512.00M of 15.75G hbm", (0.5, 15.75)),
        ("INVALID_ARGUMENT: no such topology", (0.0, 0.0)),
    ],
)
def test_an_overflow_is_read_from_the_compilers_message(
    tpu_step: ModuleType, message: str, gib: tuple[float, float]
) -> None:
    """Both forms of the message, in any unit; other messages are none."""
    assert tpu_step.overflow(message) == tuple(round(size * GIB) for size in gib)


def test_the_smallest_slice_that_has_the_devices_is_described(tpu_step: ModuleType) -> None:
    """A TPU7x chip counts as two devices, and more than the largest slice is refused."""
    assert tpu_step.topology("v5e", 1) == tpu_step.topology("v5e", 4) == "v5e:2x2x1"
    assert tpu_step.topology("v5e", 5) == "v5e:4x4x1"
    assert tpu_step.topology("v5p", 8) == "v5p:2x2x2"
    assert tpu_step.topology("tpu7x", 8) == "tpu7x:2x2x1"
    with pytest.raises(tpu_step.UnsupportedError, match="at most 256 devices of v5e"):
        tpu_step.topology("v5e", 257)


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


@pytest.mark.soak
@pytest.mark.trainer
def test_a_small_compiled_tpu_step_needs_what_it_needed_before() -> None:
    """Two layers of SmolLM2-135M with LoRA for a v5e, which compile in a quarter of the time of a whole model."""
    options = Options(method="lora", layers=2, sequence_length=512, attention="eager", estimator="tpu", chip="tpu-v5e")
    found = verify(registry.find("smollm2-135m"), options, print)
    assert found.fits is True
    assert found.peak_bytes == pytest.approx(TWO_LAYERS_BYTES, rel=0.01)


@pytest.mark.soak
@pytest.mark.trainer
def test_a_compiled_tpu_step_needs_what_it_needed_before() -> None:
    """Llama-3.2-1B LoRA for a v5e: the compiler's figure within a hundredth, and it fits."""
    found, measured = compiled("t03")
    assert found.fits is True
    assert found.peak_bytes / GIB == pytest.approx(measured, rel=0.01)


@pytest.mark.trainer
def test_the_compiler_refuses_a_step_too_large_for_a_tpu() -> None:
    """Llama-3.1-8B LoRA for a v5e: out of memory, with both figures."""
    found, needed = compiled("t08")
    assert found.fits is False
    assert found.peak_bytes / GIB == pytest.approx(needed, rel=0.01)
    assert found.available_bytes == pytest.approx(15.75 * GIB, rel=0.001)
