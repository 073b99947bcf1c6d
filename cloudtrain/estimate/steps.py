"""The time of our trainer's step on a processor that was measured, from what its probe found.

A step over T tokens takes, with R operations per second of products in the run's number type,

    step + layers x layer + 3 x (4-bit weights) x unpack
        + T x (operations of layers / R + numbers of the head x head + attention / A + weights / hidden x element)

`templates/torch/trial.py` takes the trainer's own small steps apart by the same formula.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.estimate.flops import attention_flops, flops_per_token
from cloudtrain.offer import Range

if TYPE_CHECKING:
    from cloudtrain.estimate.options import Options
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.offer import StepCosts

PASSES = 3  # over frozen weights in a step: forward, recomputation, backward; two without activation checkpointing
# How far off it may be; adapters of dense models: tests/bench/probe_holds.py; INFERENCE for the rest.
_SPREAD, _SPREAD_OTHERS = 1.3, 1.7


class Step(NamedTuple):
    """Seconds of one step by what takes them."""

    products: float
    head: float
    attention: float
    elements: float
    unpacking: float
    operators: float  # of the step and its layers, on one core

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self)


def step(spec: ModelSpec, options: Options, rate: float, costs: StepCosts) -> Step:
    """One step of `options.batch` sequences of full length; `rate` is of products in the run's type."""
    shape, tokens = spec.shape, options.batch * options.sequence_length
    head = shape.vocab * shape.hidden
    scores = attention_flops(shape, options.sequence_length)
    counted = flops_per_token(spec, options)
    recomputed = scores / 3 if options.checkpointing else 0.0
    at_head = head * (4.0 if options.adapts else 6.0)
    layers = spec.matmul_params_per_token - head
    passes = PASSES if options.checkpointing else PASSES - 1
    unpacked = spec.params_linear if options.method == "qlora" else 0
    blocks = shape.layers * shape.traits.blocks_per_layer
    return Step(
        products=tokens * (counted.executed - scores - recomputed - at_head) / rate,
        head=tokens * head * costs.head_s,
        attention=tokens * scores / costs.attention_flops_per_s,
        elements=tokens * layers / shape.hidden * costs.element_s,
        unpacking=passes * unpacked * costs.unpack_s,
        operators=costs.step_s + blocks * costs.layer_s,
    )


def tokens_per_second(spec: ModelSpec, options: Options, rate: float, costs: StepCosts) -> tuple[Range, str]:
    """Tokens per second of the whole machine, and what a step's time goes to, as text."""
    found = step(spec, options, rate, costs)
    likely = options.batch * options.sequence_length / found.seconds
    is_known = options.method in ("lora", "qlora") and not spec.shape.experts
    spread = _SPREAD if is_known else _SPREAD_OTHERS
    parts = ", ".join(f"{name} {100 * each / found.seconds:.0f} %" for name, each in found._asdict().items())
    size = f"{options.batch} x {options.sequence_length} tokens"
    text = f"a step of {size} takes {found.seconds:.3g} s by the probe ({parts}); range x/÷ {spread:g}"
    return Range(likely / spread, likely, likely * spread), text
