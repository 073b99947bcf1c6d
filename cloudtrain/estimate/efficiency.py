"""How much of the peak a fine-tune reaches: measured rows, grouped, with fallbacks that widen the range."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.estimate import hardware
from cloudtrain.estimate.hardware import Hardware
from cloudtrain.files import no_pipe
from cloudtrain.offer import Range

_FILE = Path(__file__).parent / "throughput.csv"
VARIABLE = "CLOUDTRAIN_THROUGHPUT"  # names a file that replaces the shipped rows

OWN_STACKS = ("trl-", "jax-own")  # rows whose stack starts so were measured with our own trainers' recipes

# `own` is what a trainer of ours reaches whose speed nobody has measured on the chip, foretold from tuned software.
Tier = Literal["tuned", "framework", "naive", "own"]
Precision = Literal["bf16", "fp8"]


class Row(NamedTuple):
    """One measured run: the share of the bfloat16 (or fp8) peak it reached, in the convention of `flops.Flops`."""

    id: str
    hardware: Hardware
    tier: str
    adapts: bool
    moe: bool
    precision: str  # bf16 | fp32 | fp8
    share: float
    chips: int
    stack: str


class Query(NamedTuple):
    """What is asked for. `own`: by our own trainer, whose runs on a like chip say more than other people's."""

    hardware: Hardware
    tier: Tier
    adapts: bool
    moe: bool
    precision: Precision
    own: bool = False


class Efficiency(NamedTuple):
    """The share of peak to expect, and where it comes from."""

    share: Range
    basis: str


class _Rung(NamedTuple):
    """One step of the ladder: which rows count, how far the range widens, and how to say it."""

    matches: Callable[[Row, Query], bool]
    widening: float
    description: str


def _same_chip(row: Row, query: Query) -> bool:
    return row.hardware.key == query.hardware.key


def _own(row: Row, query: Query) -> bool:
    return query.own and row.stack.startswith(OWN_STACKS) and row.hardware.backend == query.hardware.backend


def _same_tier(row: Row, query: Query) -> bool:
    return row.tier == ("tuned" if query.tier == "own" else query.tier)


def _same_kind(row: Row, query: Query) -> bool:
    return _same_chip(row, query) and _same_tier(row, query) and row.moe == query.moe


def _fp8(row: Row, query: Query) -> bool:
    return (row.precision == "fp8") == (query.precision == "fp8")


# The first rung that has a row decides. The widening of each was tuned by leaving out one shared row at a time.
_LADDER = (
    _Rung(lambda r, q: _own(r, q) and _same_chip(r, q), 1.0, "our own trainer on {chip}"),
    _Rung(_own, 1.1, "our own trainer on another {backend}"),
    _Rung(lambda r, q: _same_kind(r, q) and _fp8(r, q) and r.adapts == q.adapts, 1.0, "runs like this on {chip}"),
    _Rung(lambda r, q: _same_kind(r, q) and _fp8(r, q), 1.2, "other methods on {chip}"),
    _Rung(lambda r, q: _same_kind(r, q) and r.adapts == q.adapts, 1.2, "another precision on {chip}"),
    _Rung(lambda r, q: _same_chip(r, q) and _same_tier(r, q), 1.4, "other kinds of model on {chip}"),
    _Rung(lambda r, q: r.hardware.backend == q.hardware.backend and _same_tier(r, q), 1.5, "other {backend} chips"),
    _Rung(_same_chip, 2.0, "another class of software on {chip}"),
    _Rung(lambda r, q: r.hardware.backend == q.hardware.backend, 2.0, "another class of software on {backend} chips"),
    _Rung(_same_tier, 2.0, "other makers' chips"),
    _Rung(lambda r, q: True, 3.0, "whatever is known"),
)

# One row alone, two, three or more: how far its neighbours lie from it at least.
_FEW = {1: 1.6, 2: 1.35, 3: 1.2, 4: 1.2}
_MANY = 1.12

# Ratios seen where one chip has both: fp8 against bfloat16 share of its own peak (TPU7x, MI325X), experts against
# dense (TPU v5p, v6e, 7x). Tiers: tuned over framework from Gaudi2 and A100; naive from MI300X.
_FP8_SHARE = 0.78
_MOE_SHARE = 0.58
_SHARED_CORES = 1.3  # every CPU row was measured under other load
# INFERENCE: a row that ran in float32 gains, in bfloat16, the ratio of the chip's two peaks to this power, because only
# products gain all of it. At 36 % of its own peak (MI300X, p066), with products at 45, 70, 100 % of it, that is 5, 3,
# 1.5 times of the 8 between the peaks, when the rest of the step gains 2, 2, 1.
_OF_PEAKS = Range(0.25, 0.5, 0.75)
# No adapter run in tokens/s was ever published for it: what is known is full training on 8 to 512 chips.
WITHOUT_ADAPTERS = ("neuron",)
_PRETRAINING = Range(1 / 1.5, 0.5, 1.0)  # INFERENCE: an adapter run on few chips has small products and no tuning
# INFERENCE: what a JAX trainer of ours reaches of tuned JAX software on the chip (MaxText, full training), as nobody
# has run it there. It executes 6 operations a weight for the 4 that count, MaxText 7 to 8 for 6: x 0.67 to 0.89, middle
# 0.8. A few thousand tokens a step, float32 adapters and no tuning leave it half to all of that, middle 0.7. So 8 B
# LoRA on v6e-1 reaches 22 % of the peak, 34 % of it in executed operations, where a roofline takes 40.
_OWN_JAX = Range(0.3, 0.55, 0.9)
_OWN_JAX_FULL = Range(0.4, 0.7, 1.0)  # where 8 are executed for 6, as there
# Of a mixture besides: experts by sort and `ragged_dot`, which nobody saw compiled well, and an all-to-all of about
# 70 GB a chip and step in 0.2 to 0.7 s: LongCat's step of 2048 tokens a chip takes 1 to 3 s on v6e.
_OWN_JAX_EXPERTS = Range(0.4, 0.8, 1.0)
_TIER_SHARE = {"tuned": 1.0, "framework": 0.8, "naive": 0.12, "own": 1.0}
_TIER_SHARE_CPU = {"tuned": 1.0, "framework": 0.8, "naive": 0.6}  # hand-written kernels against plain TRL, own runs


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[Row, ...]:
    rows = []
    try:
        with open(no_pipe(str(path)), encoding="utf-8", newline="") as stream:
            for number, record in enumerate(csv.DictReader(stream), start=2):
                try:
                    rows.append(_row(record))
                except (KeyError, ValueError, TypeError, AttributeError) as error:
                    raise UsageError(
                        f"`{path}` line {number}: {error!r} is not usable as throughput", _COLUMNS
                    ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read `{path}`: {error}", f"{VARIABLE} names a CSV file of throughput rows") from error
    if not rows:
        raise UsageError(f"`{path}` holds no throughput row", _COLUMNS)
    return tuple(rows)


_COLUMNS = "needs the columns id, hardware, tier, method, moe, precision, mfu_pct, chips, stack of the shipped file"


def _row(record: dict[str, str]) -> Row:
    share = float(record["mfu_pct"]) / 100
    if not 0 < share < 10:
        raise ValueError(f"mfu_pct {record['mfu_pct']} out of range")
    return Row(
        id=record["id"],
        hardware=hardware.find(record["hardware"]),
        tier=record["tier"],
        adapts=record["method"] in ("lora", "qlora", "dora"),
        moe=record["moe"] == "yes",
        precision=record["precision"],
        share=share,
        chips=int(record["chips"] or 1),
        stack=record["stack"],
    )


def rows() -> tuple[Row, ...]:
    """Rows of the file that CLOUDTRAIN_THROUGHPUT names, else the shipped ones. Raises UsageError with the line."""
    return _read(Path(os.environ.get(VARIABLE) or _FILE))


def efficiency(query: Query, known: tuple[Row, ...] | None = None) -> Efficiency:
    """The share of peak that `query` should expect from the rows `known` (all, by default).

    The middle is the median of the group, the ends its extremes, widened the more the fewer rows there are and the
    further they are from what was asked (estimation.md 4.3).
    """
    return _climb(known, query) if known else _of_file(os.environ.get(VARIABLE) or "", query)


@lru_cache(maxsize=512)
def _of_file(path: str, query: Query) -> Efficiency:
    """The answer from a file ("": the shipped one), kept: a quote asks for the same few chips hundreds of times."""
    return _climb(_read(Path(path) if path else _FILE), query)


def _climb(known: tuple[Row, ...], query: Query) -> Efficiency:
    for rung in _LADDER:
        group = sorted((row for row in known if rung.matches(row, query)), key=lambda row: row.id)
        if group:
            return _from_group(group, query, rung)
    raise UsageError("no throughput rows at all", _COLUMNS)


def _from_group(group: list[Row], query: Query, rung: _Rung) -> Efficiency:
    chip = query.hardware
    widening = _FEW.get(len(group), _MANY) * rung.widening * (_SHARED_CORES if chip.is_processor else 1.0)
    spans = [_as_asked(row, query) for row in group]
    likely = _middle(sorted(span.likely for span in spans))
    low, high = min(span.low for span in spans) / widening, max(span.high for span in spans) * widening
    notes = []
    if narrow := [row.id for row in group if _is_narrow(row)]:
        gain = _bf16_gain(chip)
        notes.append(
            f"{', '.join(narrow)} ran in float32: converted by the two peaks, {gain.low:.1f} to {gain.high:.1f} times "
            "as fast in bf16 (inference)"
        )
    if query.tier == "own" and not any(row.stack.startswith(OWN_STACKS) for row in group):
        shares = [_OWN_JAX if query.adapts else _OWN_JAX_FULL, *([_OWN_JAX_EXPERTS] if query.moe else [])]
        for share in shares:
            low, likely, high = low * share.low, likely * share.likely, high * share.high
        of_it = math.prod(share.likely for share in shares)
        notes.append(
            f"our own trainer, never run on this chip: {100 * of_it:.0f} % of tuned full training on {_chips(group)} "
            "(inference), widened"
        )
    elif query.adapts and chip.backend in WITHOUT_ADAPTERS and not any(row.adapts for row in group):
        low, likely, high = low * _PRETRAINING.low, likely * _PRETRAINING.likely, high * _PRETRAINING.high
        notes.append(
            f"no adapter run in tokens/s was ever published for this chip: half of full training on {_chips(group)} "
            "(inference), widened"
        )
    named = ", ".join(row.id for row in group[:4]) + (", ..." if len(group) > 4 else "")
    description = rung.description.format(chip=chip.name, backend=chip.backend)
    basis = f"{len(group)} measured: {description} ({named}); {100 * likely:.1f} % of peak, range x/÷ {widening:.2f}"
    likely = min(likely, 0.95)
    return Efficiency(Range(min(low, likely), likely, max(likely, min(high, 1.0))), "; ".join((basis, *notes)))


def _middle(values: list[float]) -> float:
    """The median of what is sorted; between two the geometric mean."""
    at = len(values) // 2
    return values[at] if len(values) % 2 else (values[at - 1] * values[at]) ** 0.5


def _chips(group: list[Row]) -> str:
    """On how many chips the rows ran."""
    counts = sorted({row.chips for row in group})
    return f"{counts[0]} to {counts[-1]} chips" if len(counts) > 1 else f"{counts[0]} chips"


def _is_narrow(row: Row) -> bool:
    """Whether the row ran in float32 on an accelerator, where bfloat16 would have been faster by what is known."""
    return row.precision == "fp32" and not row.hardware.is_processor and row.hardware.peak_flops_fp32 is not None


def _bf16_gain(chip: Hardware) -> Range:
    """How many times as fast a float32 run is in bfloat16."""
    ratio = (chip.peak_flops or 1.0) / (chip.peak_flops_fp32 or chip.peak_flops or 1.0)
    return Range(*(ratio**power for power in _OF_PEAKS))


def _as_asked(row: Row, query: Query) -> Range:
    """The share of peak that a row stands for under the query, as a range where it was converted."""
    gain = _bf16_gain(row.hardware) if _is_narrow(row) else Range(1.0, 1.0, 1.0)
    return gain.scaled(row.share * _factor(row, query))


def _factor(row: Row, query: Query) -> float:
    """What a row's share becomes under the query's precision, kind of model and class of software."""
    tiers: dict[str, float] = _TIER_SHARE_CPU if query.hardware.backend == "torch-cpu" else _TIER_SHARE
    factor = tiers[query.tier] / tiers.get(row.tier, 1.0)
    if query.own and row.stack.startswith(OWN_STACKS) and row.hardware.peak_flops and query.hardware.peak_flops:
        # INFERENCE: between equal speed and equal share of peak, since only part of a step is matrix products
        factor *= (row.hardware.peak_flops / query.hardware.peak_flops) ** 0.5
    if (row.precision == "fp8") != (query.precision == "fp8"):
        factor *= _FP8_SHARE if query.precision == "fp8" else 1 / _FP8_SHARE
    if row.moe != query.moe:
        factor *= _MOE_SHARE if query.moe else 1 / _MOE_SHARE
    return factor
