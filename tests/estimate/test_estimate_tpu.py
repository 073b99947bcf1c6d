"""TPU memory against what the TPU compiler reported: the shared cases (t) and our own (o)."""

from __future__ import annotations

from statistics import mean

import pytest

from cloudtrain.estimate import budget, hardware
from cloudtrain.estimate.memory import estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.units import GIB
from tests.estimate.cases import TPU_CHIPS, compiled_options, rows

TRUTH = rows("tpu_truth.csv")


@pytest.mark.parametrize("row", TRUTH, ids=[row["id"] for row in TRUTH])
def test_the_verdict_is_the_compilers(row: dict[str, str]) -> None:
    """Fits or does not fit, as the compiler says, on every case; with the margin never fits what does not."""
    chip = hardware.find(TPU_CHIPS[row["tpu"]])
    assert chip.memory_bytes is not None
    options = compiled_options(row)
    found = estimate(registry.find(row["model"]), options)
    usable = budget.usable_bytes(chip, chip.memory_bytes)
    bare = budget.verdict(budget.required_bytes(found.peak_bytes, options, proven=True), usable)
    assert (bare != "no") == (row["fits"] == "True")
    nearly_full = float(row["hbm_gib"]) * GIB > 0.9 * usable
    assert budget.verdict(found.required_bytes, usable) == "no" or row["fits"] == "True"
    assert budget.verdict(found.required_bytes, usable) != "no" or row["fits"] == "False" or nearly_full


def test_the_formula_is_within_its_error() -> None:
    """Mean error under 5 %, over all cases and over the shared ones, and no miss beyond 10 % (TPU7x: 20 %)."""
    errors = {
        row["id"]: estimate(registry.find(row["model"]), compiled_options(row)).peak_bytes / GIB / float(row["hbm_gib"])
        - 1
        for row in TRUTH
    }
    assert len([name for name in errors if name.startswith("t")]) == 12
    assert mean(abs(error) for error in errors.values()) < 0.05
    assert mean(abs(error) for name, error in errors.items() if name.startswith("t")) < 0.05
    for row in TRUTH:
        assert abs(errors[row["id"]]) < (0.2 if row["tpu"] == "tpu7x" else 0.105), row["id"]


def test_a_tpu_quantises_experts_with_everything_else() -> None:
    """Qwix quantises every matrix, so a mixture of experts under qlora is small there."""
    spec = registry.find("qwen3-30b-a3b")
    options = Options(estimator="tpu", chip="tpu-v6e")
    assert estimate(spec, options).peak_bytes < 0.5 * estimate(spec, Options()).peak_bytes
