"""The speed of a fine-tune on a chip: peak x measured efficiency / operations per token, always as a range.

A range here is for nine runs in ten (P5, P50, P95): of the rows of throughput.csv, each foretold from the others, 93 %
lie inside (2026-11-30, tests/estimate/test_estimate_throughput.py). What a speed is made of is uncertain for reasons of
its own: how much of a peak software reaches, what is lost between cores, what 4-bit weights cost, what the peak is. All
of them at their worst at once is not one run in twenty but one in hundreds, so the spreads add in squares (`product`).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from cloudtrain.estimate.efficiency import Precision, Query, Row, Tier, efficiency
from cloudtrain.estimate.flops import flops_per_token
from cloudtrain.estimate.hardware import Hardware
from cloudtrain.estimate.options import ADAPTER_METHODS, Method, Options
from cloudtrain.models.spec import ModelSpec
from cloudtrain.offer import Range

# What our own trainer reaches on each back end: a plain PyTorch loop, a framework made for the chip, or our own JAX.
DEFAULT_TIERS: dict[str, Tier] = {"mlx": "framework", "gaudi": "framework", "tpu": "own", "neuron": "framework"}
CHIPS_PER_NODE = 8

# 4-bit weights are dequantised in every pass: torchtune 0.78-0.98, ROCm blog 0.63. On a CPU it hardly shows (own runs).
_QLORA = Range(0.63, 0.85, 1.0)
_QLORA_CPU = Range(0.8, 0.95, 1.0)
# DoRA also norms the merged weight in every pass (INFERENCE: no published figure was found).
_DORA = Range(0.5, 0.75, 1.0)

_Z5, _Z10 = 1.6448536, 1.2815516  # of the standard normal distribution: so far out lie 5 % and 10 % of it
EIGHT_IN_TEN = _Z10 / _Z5  # a range for eight runs in ten has this share of the logarithms of one for nine in ten


class Throughput(NamedTuple):
    """Tokens per second of each chip (of each unit, for processors), or None when it is unknown; `basis` says why."""

    range: Range | None
    basis: str


class Work(NamedTuple):
    """What runs: operations per token in the MFU convention, and what decides the group of measurements."""

    flops_per_token: float
    method: Method = "qlora"
    moe: bool = False
    precision: Precision = "bf16"
    tier: Tier | None = None  # None: what our own trainer reaches on the chip
    dtype: str = ""  # what it computes in where our recipe says it; "" on a processor: the faster type of its class


@lru_cache(maxsize=1024)
def work_of(spec: ModelSpec, options: Options, precision: Precision = "bf16", tier: Tier | None = None) -> Work:
    """The work of one fine-tune: operations per token in the convention. Raises UsageError for options out of range."""
    operations = flops_per_token(spec, options).convention
    return Work(operations, options.method, bool(spec.shape.experts), precision, tier, options.dtype)


def default_tier(chip: Hardware) -> Tier:
    """The class of software our own trainer belongs to on `chip`."""
    return DEFAULT_TIERS.get(chip.backend, "naive")


def tokens_per_second(
    chip: Hardware, count: int, work: Work, *, units: int = 1, known: tuple[Row, ...] | None = None
) -> Throughput:
    """Tokens per second of each of `count` chips that work together.

    `units` is how many units of the peak one counted thing has (2 for the alias `2 vCPU ...`). `known` replaces the
    measured rows (tests). An empty peak gives None: hours are unknown then, and `basis` says so.
    """
    peak = chip.peak_flops_fp8 if work.precision == "fp8" else chip.peak_flops
    if peak is None or work.flops_per_token <= 0:
        kind = f"{work.precision} peak of {chip.name}"
        note = "" if chip.peak_note.startswith("unknown") else f" ({chip.peak_note})" if chip.peak_note else ""
        return Throughput(None, f"hours unknown: no figure for the {kind}{note}")
    tier = work.tier or default_tier(chip)
    adapts = work.method in ADAPTER_METHODS
    own = work.tier is None and chip.backend in ("torch-cpu", "tpu")
    found = efficiency(Query(chip, tier, adapts, work.moe, work.precision, own), known)
    factors = _scaling(chip, count * units), _method_factor(chip, work.method)
    off = max(chip.spread, 1.0)
    span = product(found.share, *factors, Range(1 / off, 1.0, off)).scaled(peak * units / work.flops_per_token)
    basis = f"{peak * units / 1e12:g} TFLOP/s {_type(chip, work)} per counted unit, {tier} software, {found.basis}"
    if chip.spread > 1:
        basis += f"; the peak is {chip.peak_note}: x/÷ {chip.spread:g}"
    return Throughput(span, basis)


def product(*figures: Range) -> Range:
    """The product of figures that are uncertain for reasons of their own, at the quantiles that theirs are.

    Logarithms are normal on either side of the middle, so middles multiply and the squares of half-widths add.
    """
    middle, below, above, log = 1.0, 0.0, 0.0, math.log
    for low, likely, high in figures:
        middle *= likely
        if low < likely:
            below += log(likely / low) ** 2
        if likely < high:
            above += log(high / likely) ** 2
    return Range(middle * math.exp(-math.sqrt(below)), middle, middle * math.exp(math.sqrt(above)))


def eight_in_ten(figure: Range) -> Range:
    """P10, P50 and P90 of a figure of which P5, P50 and P95 are given, as a quote samples it.

    Held by data and not by the normal distribution alone: 81 % of the rows of throughput.csv, each foretold from the
    others, lie inside the narrower range (2026-11-30; the same test).
    """
    low, likely, high = figure
    return Range(likely * (low / likely) ** EIGHT_IN_TEN, likely, likely * (high / likely) ** EIGHT_IN_TEN)


def _type(chip: Hardware, work: Work) -> str:
    """The number type in which the products are counted, as a word."""
    if work.precision == "fp8":
        return "fp8"
    return "float32" if chip.is_processor and (work.dtype or chip.computes_in) == "fp32" else "bf16"


def _method_factor(chip: Hardware, method: Method) -> Range:
    if method == "qlora":
        return _QLORA_CPU if chip.backend == "torch-cpu" else _QLORA
    return _DORA if method == "dora" else Range(1.0, 1.0, 1.0)


def _scaling(chip: Hardware, units: int) -> Range:
    """What is lost by working together: GPUs beyond one node, processor cores beyond the two that were measured.

    GPUs: 0.92 and less per doubling (MLPerf on MI300X). TPU rows show no loss from 8 to 512 chips. Cores: INFERENCE.
    """
    if chip.backend == "torch-cpu":
        doublings = math.log2(max(units / 2, 1))
        return Range(0.85**doublings, 0.95**doublings, 1.0)
    if chip.backend == "tpu":
        return Range(1.0, 1.0, 1.0)
    doublings = math.log2(max(units / CHIPS_PER_NODE, 1))
    return Range(0.9**doublings, 0.95**doublings, 1.0)
