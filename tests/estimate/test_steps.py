"""A step's time, from what the probe of a processor has found."""

from __future__ import annotations

import pytest
from cloudtrain.templates.torch import trial  # no PyTorch until it measures

from cloudtrain.estimate import steps
from cloudtrain.estimate.options import Options
from cloudtrain.models import registry
from cloudtrain.offer import StepCosts

COSTS = StepCosts(step_s=0.02, layer_s=0.01, element_s=8e-9, head_s=3e-11, unpack_s=2e-10, attention_flops_per_s=2e10)
RATE = 2e11


def tokens(model: str = "smollm2-135m", **changes: object) -> float:
    """Likely tokens per second."""
    options = Options(**{"method": "qlora", "sequence_length": 256, **changes})  # type: ignore[arg-type]
    return steps.tokens_per_second(registry.find(model), options, RATE, COSTS)[0].likely


def test_short_rows_pay_for_the_step() -> None:
    """What every step costs is shared by fewer tokens; a batch of two is not a longer row, whose attention grows."""
    assert tokens(sequence_length=64) < 0.8 * tokens()
    assert tokens(batch=2) > tokens(sequence_length=512)


def test_a_larger_model_is_nearer_to_the_products() -> None:
    """The share of operations that are products grows with the width."""
    small, large = (
        steps.step(registry.find(name), Options(method="qlora", sequence_length=256), RATE, COSTS)
        for name in ("smollm2-135m", "qwen3-0.6b")
    )
    assert small.products / small.seconds < large.products / large.seconds


def test_only_four_bits_are_unpacked() -> None:
    """LoRA on plain weights is faster by that; nothing else differs."""
    spec = registry.find("smollm2-135m")
    packed, plain = (
        steps.step(spec, Options(method=method, sequence_length=256), RATE, COSTS)  # type: ignore[arg-type]
        for method in ("qlora", "lora")
    )
    assert packed._replace(unpacking=0.0) == plain
    assert packed.unpacking == pytest.approx(3 * spec.params_linear * 2e-10)


def test_the_basis_says_what_takes_the_time() -> None:
    """In parts that sum to a whole, and how wide the range is: wider where no run has held it."""
    spec = registry.find("smollm2-135m")
    span, text = steps.tokens_per_second(spec, Options(method="qlora", sequence_length=256), RATE, COSTS)
    assert span.high / span.likely == pytest.approx(1.3)
    assert "a step of 1 x 256 tokens takes" in text
    assert all(f"{part} " in text for part in ("products", "head", "attention", "elements", "unpacking", "operators"))
    full, _ = steps.tokens_per_second(spec, Options(method="full", sequence_length=256), RATE, COSTS)
    assert full.high / full.likely > 1.5


def test_the_trial_takes_apart_what_the_quote_puts_together() -> None:
    """Steps made by the formula give the costs that made them."""

    def seconds(layers: int, length: int) -> float:
        products = length * 6 * (trial.WEIGHTS + trial.ADAPTER) / RATE
        scores = 6 * length * length * trial.HIDDEN / COSTS.attention_flops_per_s
        elements = length * trial.WEIGHTS / trial.HIDDEN * COSTS.element_s
        unpacking = 3 * trial.WEIGHTS * COSTS.unpack_s
        head = length * trial.VOCAB * trial.HIDDEN * COSTS.head_s
        return COSTS.step_s + head + layers * (COSTS.layer_s + products + scores + elements + unpacking)

    kinds = [(layers, length) for layers in (trial.FEW, trial.MANY) for length in (trial.SHORT, trial.LONG)]
    found = trial.taken_apart(
        {kind: seconds(*kind) for kind in kinds}, RATE, COSTS.unpack_s, COSTS.attention_flops_per_s
    )
    assert tuple(found) == pytest.approx(tuple(COSTS))


def test_a_trial_on_a_busy_machine_gives_no_negative_cost() -> None:
    """Long steps that were faster than short ones: least costs, never below zero."""
    few, many = trial.FEW, trial.MANY
    odd = {(few, trial.SHORT): 1.0, (few, trial.LONG): 0.7, (many, trial.SHORT): 0.5, (many, trial.LONG): 0.1}
    assert min(trial.taken_apart(odd, RATE, 1e-10, 1e10)) > 0
