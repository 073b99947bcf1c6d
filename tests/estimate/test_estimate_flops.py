"""Operations per token against the convention of published efficiency."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from cloudtrain.estimate.flops import attention_flops, flops_per_token
from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.models.spec import ModelSpec
from tests.chance import examples
from tests.estimate.cases import options, specs


@pytest.mark.parametrize(
    ("model", "method", "length", "gflop"),
    [
        ("llama-3.1-8b", "full", 8192, 51.47),
        ("llama-3.1-8b", "lora", 2048, 31.63),
        ("llama-3.3-70b", "full", 8192, 449.21),
        ("llama-3.1-405b", "full", 8192, 2523.67),
        ("qwen3-235b-a22b", "full", 4096, 147.92),
        ("mixtral-8x7b", "full", 4096, 79.72),
        ("smollm2-135m", "lora", 512, 0.59),
        ("qwen2.5-0.5b", "full", 512, 3.03),
    ],
)
def test_the_convention_is_the_published_one(model: str, method: str, length: int, gflop: float) -> None:
    """GFLOP per token are within 0.3 % of those that published efficiencies were computed with."""
    chosen = Options(method=method, sequence_length=length)  # type: ignore[arg-type]
    assert flops_per_token(registry.find(model), chosen).convention / 1e9 == pytest.approx(gflop, rel=0.003, abs=0.006)


def test_longcat_counts_active_parameters_and_both_widths() -> None:
    """108.6 GFLOP a token for LoRA, 162.9 for full, and 3.44 MFLOP more per token of length."""
    spec = registry.find("longcat-flash")
    slope = attention_flops(spec.shape, 1)
    assert slope == 6 * 56 * 64 * (192 + 128) / 2
    for method, gflop in (("lora", 108.6), ("full", 162.9)):
        found = flops_per_token(spec, Options(method=method, sequence_length=2048))  # type: ignore[arg-type]
        assert (found.convention - 2048 * slope) / 1e9 == pytest.approx(gflop, abs=0.05)


def test_sliding_windows_shorten_the_attention_of_their_layers() -> None:
    """Gemma 3 12B at 32k: 40 of 48 layers see 1,024 tokens, which explains its published 38 % instead of 53 %."""
    shape = registry.find("gemma-3-12b-text").shape
    assert attention_flops(shape, 32768) == 6 * 4096 * (8 * 32768 + 40 * 1024)
    assert attention_flops(shape, 512) == 6 * 4096 * 48 * 512


@settings(max_examples=examples(40))
@given(specs(), options(layers=None))
def test_methods_are_ordered_and_recomputation_costs(spec: ModelSpec, chosen: Options) -> None:
    """Frozen weights cost less than trained ones, freezing lies between inference and full, checkpointing adds."""
    by = {m: flops_per_token(spec, chosen._replace(method=m)) for m in ("full", "lora", "qlora", "freeze")}  # type: ignore[arg-type]
    assert by["lora"].convention == by["qlora"].convention < by["full"].convention
    assert by["freeze"].convention <= by["full"].convention + 1
    for found in by.values():
        assert found.executed >= found.convention > 0
    bare = flops_per_token(spec, chosen._replace(checkpointing=False)).executed
    assert flops_per_token(spec, chosen._replace(checkpointing=True)).executed > bare
