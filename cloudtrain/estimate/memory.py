"""How much memory one fine-tune needs on each device: the peak over the phases of a step, and why."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from cloudtrain.estimate import assumptions, budget, tpu
from cloudtrain.estimate.options import Options, checked
from cloudtrain.estimate.phases import Parts, phase_parts
from cloudtrain.estimate.sharding import shares
from cloudtrain.estimate.states import states
from cloudtrain.models.spec import ModelSpec


class MemoryEstimate(NamedTuple):
    """Bytes of each device. `parts` belong to the deciding `phase` and sum to `peak_bytes`; `phases` holds all totals.

    `peak_bytes` is live tensor bytes of one steady optimisation step; `required_bytes` adds runtime and margins.
    """

    peak_bytes: int
    required_bytes: int
    phase: str
    parts: Parts
    devices: int
    params_total: int
    params_trainable: int
    assumptions: tuple[str, ...]
    phases: dict[str, int]


@lru_cache(maxsize=1024)  # a quote asks for the same machine in many places
def estimate(spec: ModelSpec, options: Options) -> MemoryEstimate:
    """The estimate of `options` for `spec`. Raises UsageError for options out of range.

    With other options equal, qlora <= lora <= full holds on one device with checkpointing on, AdamW or Lion, adapters
    of at most an eighth of the weights, no upcast embeddings, and batch x length small against layers x hidden: LoRA
    keeps a cast input per adapted matrix, so that with long batches, or without checkpointing, it can need more than
    full training does. More devices never need more each; batch, length and rank never make it less.
    """
    spec, options = checked(spec, options)
    held = states(spec, options)
    if options.estimator == "tpu":
        phases = tpu.phase_parts(spec, options, held)
    else:
        placed = [phase_parts(spec, options, held, share) for share in shares(spec.shape, options, held)]
        phases = min(placed, key=lambda parts: max(part.total for part in parts.values()))
    phase = max(phases, key=lambda name: phases[name].total)
    parts = phases[phase]
    return MemoryEstimate(
        peak_bytes=parts.total,
        required_bytes=budget.required_bytes(parts.total, options),
        phase=phase,
        parts=parts,
        devices=options.devices,
        params_total=spec.params_total,
        params_trainable=round(held.trainable.sum),
        assumptions=assumptions.describe(spec, options),
        phases={name: part.total for name, part in phases.items()},
    )
