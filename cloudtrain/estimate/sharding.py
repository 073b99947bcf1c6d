"""What one of several devices holds: which share of each kind of weight, of its states, and of the work."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import Options
from cloudtrain.estimate.states import Kinds, States
from cloudtrain.models.counts import counts, layer_parameters
from cloudtrain.models.shape import Shape

ALL = Kinds(1, 1, 1)


class Share(NamedTuple):
    """The part of one device.

    `weights` and `states` are shares by kind of parameter; `width` divides what tensor parallelism divides; `depth`
    is the share of the layers whose activations are held; `batch` the sequences of one micro-step here.
    `gathered` are bytes of weights collected from the other devices for the layer at work, `exchange` bytes per token
    of expert traffic.
    """

    weights: Kinds
    states: Kinds
    width: float
    depth: float
    batch: int
    gathered: float = 0.0
    exchange: float = 0.0


def shares(shape: Shape, options: Options, held: States) -> tuple[Share, ...]:
    """The ways to place the model that `options` allow; the group uses the one that needs least.

    Only expert parallelism has two: on few tokens its exchange buffers can cost more than the experts it moves away,
    and then every device keeps all experts (estimation.md section 7, "Sharding").
    """
    devices = options.devices
    local_batch = -(-options.batch // devices)
    if devices == 1:
        return (Share(ALL, ALL, 1.0, 1.0, options.batch),)
    even = Kinds(1 / devices, 1 / devices, 1 / devices)
    if options.sharding == "fsdp":
        return (Share(even, even, 1.0, 1.0, local_batch, gathered=_gathered(shape, held, devices)),)
    if options.sharding == "zero2":
        return (Share(ALL, even, 1.0, 1.0, local_batch),)
    if options.sharding == "tp":
        return (Share(even, even, 1 / devices, 1.0, options.batch),)
    if options.sharding == "pp":
        return (_pipeline(shape, options),)
    everywhere = Share(ALL, ALL, 1.0, 1.0, local_batch)
    if not shape.experts:
        return (everywhere,)
    spread = Kinds(1, 1 / min(devices, shape.experts), 1)
    return (everywhere, Share(spread, spread, 1.0, 1.0, local_batch, exchange=4 * shape.top_k * shape.hidden))


def _gathered(shape: Shape, held: States, devices: int) -> float:
    """FSDP gathers the layer at work and the next one, in the type they multiply in; never more than there is."""
    layer = held.weights.sum * min(1.0, layer_parameters(shape) / counts(shape).total)
    compute = min(1.0, 2 / held.weight_bytes)
    return min(2 * layer * compute, held.weights.sum * (1 - 1 / devices))


def _pipeline(shape: Shape, options: Options) -> Share:
    """A stage holds its layers and one vocabulary table; the first keeps several micro-batches in flight."""
    stages = min(options.devices, shape.layers)
    layers = -(-shape.layers // stages)
    depth = layers / shape.layers
    tables = 1.0 if shape.tied or shape.ngram_tables else 0.5
    in_flight = min(1.0, depth * min(stages, options.grad_accum))
    held = Kinds(depth, depth, tables)
    return Share(held, held, 1.0, in_flight, options.batch)
