"""Memory on a TPU: a formula fitted to what the TPU compiler reports for our own trainer's step (templates/tpu).

XLA lays a step out as one program. Arguments are exact: frozen weights, adapters and their moments in float32.
Beside them lie the input of every layer, copies of the stacked attention matrices in another layout, a tile of logits,
gradients, and what a layer at work needs while it is computed again. The constants were fitted to compiled steps, and
others score them (tests/estimate/data/tpu_steps.csv); `--verify` compiles the step and replaces the formula.
The trainer has adapters alone so far, and its loss is always in tiles; other methods are counted by the same parts.
"""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import Options
from cloudtrain.estimate.phases import Parts
from cloudtrain.estimate.states import States
from cloudtrain.models.counts import layer_linear, layer_parameters
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec

GROUP = 64  # weights that share a scale; in float32, of experts in bfloat16
CODE_BYTES = {"nf4": 0.5, "int4": 0.5, "int8": 1.0}
TILE_BYTES = 1 << 28  # of float32 logits that a device holds at a time: `TILE_BYTES` of templates/tpu/model.py
LANES = 128  # the last axis of an array is padded to this many numbers: narrow heads are stored as wide ones
MOST_TILES = 1 << 20
CODE = 27 * 2**20  # the program itself: 24 to 30 MiB

_TILES = 2.0  # tiles of float32 logits: scores, and their gradient; one more where scores are capped
# Where a hidden state fills no whole lanes (576 and 960), the vocabulary matrix is copied and a tile more is kept.
_RAGGED_TABLES, _RAGGED_TILES = 3.0, 1.0
_GRADIENTS = 2.0  # of the adapters: those summed up, and those of a micro-batch
# Twice what small steps suggest: with 8,192 and 16,384 tokens a chip they were 13 and 25 % too low (2026-12-01).
_QUERY, _WIDE = 32.0, 17.0  # bytes for each (padded) query number and MLP number of a token while a layer is redone
_KEPT_HIDDEN, _KEPT_WIDE, _KEPT_QUERY = 14.0, 8.0, 26.0  # per layer and token without rematerialisation
_GATHERED_LAYERS = 2.0  # weights of the layer at work and of the next one, whole, where devices share them
_UNPACKED_LAYERS = 1.0  # 4-bit matrices of the layer at work, in bfloat16
# A mixture spread over devices: its own experts of a layer unpacked, this many times; and buffers of what is exchanged,
# per token that a device has: from the steps of LongCat-Flash on v6e-16 (int4) and on 8 v5p chips (int8).
_UNPACKED_EXPERTS = 0.35
_EXCHANGED = 275.0  # bytes per hidden number of a token


def phase_parts(spec: ModelSpec, options: Options, held: States) -> dict[str, Parts]:
    """The phases of one step on one TPU device; sharding over several is FSDP whatever the options say."""
    sizes = _sizes(spec, options, held)
    gradients = _GRADIENTS * sizes.gradients
    layer = gradients, sizes.saved + sizes.redone, 0.0, sizes.copies + sizes.gathered
    moments = {
        "forward": (0.0, *layer[1:]),
        "loss": (gradients, sizes.saved, sizes.logits, sizes.copies + sizes.tables),
        "last_layer": layer,
        "first_layer": layer,
        "end_backward": (gradients, 0.0, 0.0, 0.0),
        "optimizer": (gradients, 0.0, 0.0, 0.0),
    }
    weights, states = round(sizes.weights), round(sizes.optimizer)
    return {
        name: Parts(weights, round(learns), states, round(active), round(scores), round(work) + CODE)
        for name, (learns, active, scores, work) in moments.items()
    }


class _Sizes(NamedTuple):
    weights: float
    optimizer: float
    gradients: float
    saved: float  # inputs of the layers
    redone: float  # by a layer at work
    logits: float
    copies: float  # of weights in another layout
    gathered: float  # of what devices share and a layer at work needs
    tables: float  # copies of the vocabulary matrix


def _sizes(spec: ModelSpec, options: Options, held: States) -> _Sizes:
    shape, devices = spec.shape, options.devices
    tokens = -(-options.batch // devices) * options.sequence_length
    trained = held.trainable.sum / devices
    base, adapters = _weights(spec, options, held)
    ragged = shape.hidden % LANES != 0
    saved = 2.0 * -(-shape.hidden // LANES) * LANES * tokens * shape.layers
    tiles = _TILES + (shape.family == "gemma2") + _RAGGED_TILES * ragged
    redone = (_QUERY * _padded_query(shape) + _WIDE * _wide(shape)) * tokens
    if not options.checkpointing:
        kept = _KEPT_HIDDEN * shape.hidden + _KEPT_WIDE * _wide(shape) + _KEPT_QUERY * _padded_query(shape)
        saved = kept * tokens * shape.layers
    layer = 2.0 * layer_linear(shape)
    gathered = _UNPACKED_LAYERS * layer if options.method == "qlora" else 0.0
    if shape.experts and options.method == "qlora":
        experts = 2.0 * shape.experts * shape.expert_weights / devices
        gathered += _UNPACKED_EXPERTS * experts + _EXCHANGED * shape.hidden * tokens
    elif devices > 1:
        whole = 2.0 * layer_parameters(shape)
        gathered = min(_GATHERED_LAYERS * whole, (1 - 1 / devices) * base)
    return _Sizes(
        weights=base / devices + adapters / devices,
        optimizer=trained * held.optimizer_bytes,
        gradients=trained * held.gradient_bytes,
        saved=saved,
        redone=redone,
        logits=tiles * _tile(shape, options) / devices,
        copies=_copies(shape) / devices,
        gathered=gathered,
        tables=_RAGGED_TABLES * 2.0 * shape.vocab * shape.hidden / devices if ragged else 0.0,
    )


def _weights(spec: ModelSpec, options: Options, held: States) -> tuple[float, float]:
    """Bytes of the base weights of the whole model, and of the adapters."""
    counts = spec.counts
    if not options.adapts:
        return held.weights.sum, 0.0
    adapters = held.trainable.sum * held.gradient_bytes
    if options.method != "qlora":
        return held.weights.sum - adapters, adapters
    quantised = counts.linear + (counts.experts if options.experts_4bit else 0)
    packed = CODE_BYTES[options.quantisation] + (2 if spec.shape.experts else 4) / GROUP
    return packed * quantised + held.weight_bytes * (counts.total - quantised), adapters


def _tile(shape: Shape, options: Options) -> float:
    """Bytes of one tile of float32 logits over all devices: rows are cut along into the fewest parts that are small."""
    rows = -(-options.batch // options.devices) * options.devices
    length = options.sequence_length
    whole = 4.0 * rows * length * shape.vocab
    parts = max(1, -(-whole // (options.devices * TILE_BYTES)))
    while length % parts and parts < min(length, MOST_TILES):
        parts += 1
    return whole / min(parts, length)


def _copies(shape: Shape) -> float:
    """Stacked query, key and value matrices, laid out anew for the loop; not where layers differ in their window."""
    if 0 < shape.sliding_layers < shape.layers or shape.traits.mla:
        return 0.0
    return 2.0 * shape.layers * shape.hidden * (shape.query_width + 2 * shape.key_width)


def _wide(shape: Shape) -> int:
    """The widest array of one layer, per token."""
    return max(shape.intermediate, shape.query_width)


def _padded_query(shape: Shape) -> int:
    """Numbers of all query heads as they are stored."""
    return -(-shape.head_dim // LANES) * LANES * shape.heads * shape.traits.blocks_per_layer
