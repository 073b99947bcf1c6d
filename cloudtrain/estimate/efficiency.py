"""How much of the peak a fine-tune reaches: measured rows, grouped, with fallbacks that widen the range."""

from __future__ import annotations

import csv
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

OWN_STACKS = "trl-"  # rows whose stack starts so were measured with our own trainer's recipe

Tier = Literal["tuned", "framework", "naive"]
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
    """What is asked for. `own`: by our own trainer, whose runs on a like processor say more than other people's."""

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


def _same_kind(row: Row, query: Query) -> bool:
    return _same_chip(row, query) and row.tier == query.tier and row.moe == query.moe


def _fp8(row: Row, query: Query) -> bool:
    return (row.precision == "fp8") == (query.precision == "fp8")


# The first rung that has a row decides. The widening of each was tuned by leaving out one shared row at a time.
_LADDER = (
    _Rung(lambda r, q: _own(r, q) and _same_chip(r, q), 1.0, "our own trainer on {chip}"),
    _Rung(_own, 1.1, "our own trainer on another {backend}"),
    _Rung(lambda r, q: _same_kind(r, q) and _fp8(r, q) and r.adapts == q.adapts, 1.0, "runs like this on {chip}"),
    _Rung(lambda r, q: _same_kind(r, q) and _fp8(r, q), 1.2, "other methods on {chip}"),
    _Rung(lambda r, q: _same_kind(r, q) and r.adapts == q.adapts, 1.2, "another precision on {chip}"),
    _Rung(lambda r, q: _same_chip(r, q) and r.tier == q.tier, 1.4, "other kinds of model on {chip}"),
    _Rung(lambda r, q: r.hardware.backend == q.hardware.backend and r.tier == q.tier, 1.5, "other {backend} chips"),
    _Rung(_same_chip, 2.0, "another class of software on {chip}"),
    _Rung(lambda r, q: r.hardware.backend == q.hardware.backend, 2.0, "another class of software on {backend} chips"),
    _Rung(lambda r, q: r.tier == q.tier, 2.0, "other makers' chips"),
    _Rung(lambda r, q: True, 3.0, "whatever is known"),
)

# One row alone, two, three or more: how far its neighbours lie from it at least.
_FEW = {1: 1.6, 2: 1.35, 3: 1.2, 4: 1.2}
_MANY = 1.12

# Ratios seen where one chip has both: fp8 against bfloat16 share of its own peak (TPU7x, MI325X), experts against
# dense (TPU v5p, v6e, 7x). Tiers: tuned over framework from Gaudi2 and A100; naive from MI300X.
_FP8_SHARE = 0.78
_MOE_SHARE = 0.58
_SHARED_CORES = 1.3  # every CPU row was measured under other load, and a cloud's vCPU is half a core
_BF16_GAIN = 4.0  # rows that ran in float32 say little about the top of what bfloat16 reaches on a GPU
_TIER_SHARE = {"tuned": 1.0, "framework": 0.8, "naive": 0.12}
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
    return _climb(known, query) if known else _of_file(Path(os.environ.get(VARIABLE) or _FILE), query)


@lru_cache(maxsize=512)
def _of_file(path: Path, query: Query) -> Efficiency:
    """The answer from a file, kept: a quote asks for the same few chips hundreds of times."""
    return _climb(_read(path), query)


def _climb(known: tuple[Row, ...], query: Query) -> Efficiency:
    for rung in _LADDER:
        group = sorted((row for row in known if rung.matches(row, query)), key=lambda row: row.id)
        if group:
            return _from_group(group, query, rung)
    raise UsageError("no throughput rows at all", _COLUMNS)


def _from_group(group: list[Row], query: Query, rung: _Rung) -> Efficiency:
    shares = sorted(row.share * _factor(row, query) for row in group)
    middle = len(shares) // 2
    likely = shares[middle] if len(shares) % 2 else (shares[middle - 1] * shares[middle]) ** 0.5
    widening = _FEW.get(len(shares), _MANY) * rung.widening
    on_cpu = query.hardware.backend == "torch-cpu"
    widening *= _SHARED_CORES if on_cpu else 1.0
    slow = any(row.precision == "fp32" for row in group) and not on_cpu
    high = shares[-1] * widening * (_BF16_GAIN if slow else 1.0)
    description = rung.description.format(chip=query.hardware.name, backend=query.hardware.backend)
    named = ", ".join(row.id for row in group[:4]) + (", ..." if len(group) > 4 else "")
    return Efficiency(
        Range(shares[0] / widening, min(likely, 0.95), min(high, 1.0)),
        f"{len(group)} measured: {description} ({named}); {100 * likely:.1f} % of peak, range x/÷ {widening:.2f}",
    )


def _factor(row: Row, query: Query) -> float:
    """What a row's share becomes under the query's precision, kind of model and class of software."""
    tiers = _TIER_SHARE_CPU if query.hardware.backend == "torch-cpu" else _TIER_SHARE
    factor = tiers[query.tier] / tiers.get(row.tier, 1.0)
    if query.own and row.hardware.peak_flops and query.hardware.peak_flops:
        # INFERENCE: between equal speed and equal share of peak, since only part of a step is matrix products
        factor *= (row.hardware.peak_flops / query.hardware.peak_flops) ** 0.5
    if (row.precision == "fp8") != (query.precision == "fp8"):
        factor *= _FP8_SHARE if query.precision == "fp8" else 1 / _FP8_SHARE
    if row.moe != query.moe:
        factor *= _MOE_SHARE if query.moe else 1 / _MOE_SHARE
    return factor
