"""Memory against the measured truth: PyTorch cases traced operator by operator."""

from __future__ import annotations

from statistics import mean

import pytest

from cloudtrain.errors import UsageError
from cloudtrain.estimate.memory import MemoryEstimate, estimate
from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.units import GIB
from tests.estimate.cases import measured_options, measured_spec, rows

TRUTH = rows("memory_truth.csv")


def measured(row: dict[str, str]) -> MemoryEstimate:
    """Our estimate of a measured case."""
    return estimate(measured_spec(row["model"]), measured_options(row))


def errors(kind: str) -> list[float]:
    """Relative errors of the rows whose id starts with `kind`."""
    return [measured(row).peak_bytes / GIB / float(row["peak_gib"]) - 1 for row in TRUTH if row["id"].startswith(kind)]


@pytest.mark.parametrize(("kind", "count", "bar"), [("g", 80, 0.002), ("h", 45, 0.0025), ("x", 56, 0.006)])
def test_the_error_stays_under_its_bar(kind: str, count: int, bar: float) -> None:
    """The mean error is under 0.25 % on the shared rows g and h, and no miss is beyond 3 % (5 % for our own rows x).

    The project's bar is 3 % and no under-estimate beyond 5 %. The rows x were traced by us in the same way, on cases
    that the formula had not seen; what they taught about masks, eager attention and casts is in the formula now.
    """
    found = errors(kind)
    assert len(found) == count
    assert mean(abs(error) for error in found) < bar
    assert min(found) > -0.03
    assert max(found) < 0.05


def test_parameters_and_trainables_are_exact_on_every_row() -> None:
    """Totals and trainable counts equal the instantiated models', adapters by PEFT included."""
    for row in TRUTH:
        found = measured(row)
        assert (found.params_total, found.params_trainable) == (int(row["params"]), int(row["trainable"])), row["id"]


def test_the_deciding_phase_is_the_measured_one() -> None:
    """Forward, backward or optimiser: the estimate peaks where the measurement does wherever these differ by 2 %."""
    sides = {"forward": "fwd", "optimizer": "opt"}
    for row in TRUTH:
        measured_peaks = sorted(float(row[f"{side}_peak_gib"]) for side in ("fwd", "bwd", "opt"))
        if measured_peaks[-1] > 1.02 * measured_peaks[-2]:
            assert sides.get(measured(row).phase, "bwd") == row["peak_phase"], row["id"]


@pytest.mark.parametrize(
    ("options", "gib"),
    [
        (Options(), 275),
        (Options(expert_dequant="layer"), 311),
        (Options(method="lora", targets="attention"), 1049),
        (Options(method="full"), 4177),
        (Options(method="full", optimizer="adamw8bit"), 3149),
        (Options(experts_4bit=False, targets="attention"), 1024),
    ],
)
def test_longcat_needs_what_its_arithmetic_says(options: Options, gib: float) -> None:
    """The figures of LongCat-Flash at 2048 x 1, each within half a percent; 4-bit experts are its default."""
    found = estimate(registry.find("longcat-flash"), options)
    assert found.peak_bytes / GIB == pytest.approx(gib, rel=0.005)


def test_experts_stay_in_16_bit_elsewhere_unless_asked() -> None:
    """Stock bitsandbytes leaves fused experts alone: Qwen3-30B-A3B takes 72 GiB under qlora, not 20."""
    spec = registry.find("qwen3-30b-a3b")
    assert estimate(spec, Options()).peak_bytes / GIB == pytest.approx(72.3, rel=0.01)
    assert estimate(spec, Options(experts_4bit=True)).peak_bytes / GIB < 21


def test_mlx_quantises_embeddings_and_holds_no_float32_logits() -> None:
    """On Apple the same fine-tune needs less, by the embeddings and by half of the logits."""
    spec = registry.find("llama-3.1-8b")
    torch, mlx = estimate(spec, Options()), estimate(spec, Options(estimator="mlx"))
    assert mlx.parts.weights < torch.parts.weights
    assert mlx.phases["loss"] < torch.phases["loss"]
    assert "mlx-lm" in " ".join(mlx.assumptions)


def test_assumptions_tell_every_choice() -> None:
    """The sentences name model, method, tokens, weights, checkpointing, loss, experts, sharding and margin."""
    options = Options(devices=8, sharding="ep", checkpointing=False, loss="chunked")
    said = " ".join(estimate(registry.find("longcat-flash"), options).assumptions)
    for word in (
        "560,664,958,976",
        "rank 16",
        "NF4",
        "no gradient checkpointing",
        "chunked",
        "4 bit",
        "expert parallel",
    ):
        assert word in said


def test_gpt_oss_is_estimated_with_eager_attention() -> None:
    """Attention sinks exclude fused kernels, so asking for sdpa changes nothing."""
    spec = registry.find("gpt-oss-20b")
    assert estimate(spec, Options(attention="sdpa")) == estimate(spec, Options(attention="eager"))


@pytest.mark.parametrize(
    "options",
    [
        Options(batch=0),
        Options(sequence_length=-5),
        Options(rank=0),
        Options(dropout=1.0),
        Options(dropout=float("nan")),
        Options(layers=0),
        Options(devices=0),
        Options(batch=10**12),
        Options(grad_accum=0),
        Options(train_layers=0),
        Options(layers=10**9),
    ],
)
def test_options_out_of_range_are_refused(options: Options) -> None:
    """A figure that cannot be meant is a UsageError with a hint."""
    with pytest.raises(UsageError) as caught:
        estimate(registry.find("smollm2-135m"), options)
    assert caught.value.hint


def test_depth_can_be_overridden() -> None:
    """`layers` changes the parameter count, and freezing more layers than there are freezes none."""
    spec = registry.find("llama-3.1-8b")
    shallow = estimate(spec, Options(layers=2))
    assert shallow.params_total < spec.params_total
    whole = estimate(spec, Options(layers=2, method="freeze", train_layers=50))
    assert whole.params_trainable < shallow.params_total
