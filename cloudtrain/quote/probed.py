"""What `cloudtrain probe` has measured of this machine, as a quote reads it: by hand, because pydantic takes too long.

The lines are `records.ProbeRecord`s, one machine's newest counts. A line of another shape is passed over.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING

from cloudtrain.offer import Probe, Products, StepCosts
from cloudtrain.settings import copied_here

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudtrain.estimate.hardware import Hardware
    from cloudtrain.estimate.options import Options
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.offer import Range

FILE = "probes.jsonl"
MOST_LOAD = 0.9
BUSY = 0.25  # the share that others had, from which on a rate is likely to be too low


def of_state(state: str) -> Probe | None:
    """The newest probe of this machine that a state holds; of one in a bucket, what was last copied here."""
    try:
        with open(copied_here(state, "probes") or os.path.join(state, FILE), encoding="utf-8") as file:
            lines = file.readlines()
    except (OSError, UnicodeDecodeError):
        return None
    return newest(lines, this_machine())


def newest(lines: Iterable[str], machine: str) -> Probe | None:
    """The last usable line of a machine."""
    found = None
    for line in lines:
        probe = read(line, machine)
        found = probe or found
    return found


def read(line: str, machine: str) -> Probe | None:
    """One line; None for a damaged one, one of another machine or of a newer form."""
    try:
        it = json.loads(line)
        if it["version"] != 1 or it["machine"] != machine:
            return None
        rates = float(it["bf16_flops_per_s"]), float(it["fp32_flops_per_s"])
        load = it.get("load")
        costs = _costs(it.get("bf16_costs")), _costs(it.get("fp32_costs"))
        products = Products(*rates, float(it["time"]), None if load is None else float(load), *costs)
        probe = Probe(str(it["hardware"]), int(it["cores"]), products)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return probe if all(0 < rate < math.inf for rate in rates) and probe.cores > 0 else None


def _costs(found: object) -> StepCosts | None:
    """Of a step in one number type; None where they were not measured, or are odd."""
    if not isinstance(found, dict):
        return None
    costs = StepCosts(*(float(found[name]) for name in StepCosts._fields))
    return costs if all(0 < cost < math.inf for cost in costs) else None


def by_steps(spec: ModelSpec, options: Options, products: Products) -> tuple[Range, str] | None:
    """Tokens per second of the machine and the basis, where the probe has measured what a step costs; else None.

    What others had while it was measured may have cost that much speed: a busy machine's range goes up by it.
    """
    costs = products.fp32_costs if options.dtype == "fp32" else products.bf16_costs
    if costs is None:
        return None
    from cloudtrain.estimate import steps

    rate = products.fp32_flops_per_s if options.dtype == "fp32" else products.bf16_flops_per_s
    found, basis = steps.tokens_per_second(spec, options, rate, costs)
    others = min(products.load or 0.0, MOST_LOAD)
    return found._replace(high=found.high / (1 - others)) if others > BUSY else found, basis


def this_machine() -> str:
    """A name for this machine that tells nobody its own: a state may be shared, and its files be shown around."""
    import hashlib
    import platform

    return hashlib.sha256(f"cloudtrain probe {platform.node()}".encode()).hexdigest()[:12]


def float32_is_faster(products: Products) -> bool:
    """Whether the trainer, by the same rule, computes in float32 there."""
    if TYPE_CHECKING:
        from templates.common.products import faster
    else:
        from cloudtrain.templates.common.products import faster
    return faster({"bf16": products.bf16_flops_per_s, "fp32": products.fp32_flops_per_s}) == "fp32"


def with_rate(chip: Hardware, count: int, products: Products, dtype: str) -> Hardware:
    """The chip with what was measured in place of the peak of its class, per counted unit."""
    rate = products.fp32_flops_per_s if dtype == "fp32" else products.bf16_flops_per_s
    return chip._replace(peak_flops=rate / count)


def basis(products: Products, dtype: str) -> str:
    """Where the rate comes from, for the basis of a row's speed."""
    text = (
        f"products measured by `cloudtrain probe` on {_day(products.time)}: {tera(products.bf16_flops_per_s)} in bf16, "
        f"{tera(products.fp32_flops_per_s)} in float32; computed in {'float32' if dtype == 'fp32' else 'bf16'}"
    )
    if products.load is not None and products.load > BUSY:
        text += f"; others had {100 * products.load:.0f} % of the processors: probe again when they are idle"
    return text


def tera(rate: float) -> str:
    """Operations per second for a person."""
    return f"{rate / 1e12:.3g} TFLOP/s"


def _day(instant: float) -> str:
    from datetime import UTC, datetime

    try:
        return datetime.fromtimestamp(instant, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return "an unknown day"
