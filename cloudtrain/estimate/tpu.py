"""Memory on a TPU: a formula fitted to what the TPU compiler itself reports for a fine-tuning step in JAX.

XLA lays a step out as one program: layers run in a scan over stacked weights, logits are kept at six bytes each,
gradients of stacked weights are allocated whole. The constants below were fitted to compiled cases (the shared ones and
our own, both in the tests' data); `--verify` compiles and replaces the formula.
"""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import Options
from cloudtrain.estimate.phases import LOSS_CHUNKS, Parts
from cloudtrain.estimate.states import States
from cloudtrain.models.counts import layer_linear, layer_parameters
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec

INT4_BYTES_PER_WEIGHT = 0.5 + 2 / 64  # int4 with one bfloat16 scale per 64 weights (Qwix)
LOGIT_BYTES = 6  # float32 logits and the bfloat16 gradient
LANES = 128  # the last axis of an array is padded to this many numbers: narrow heads are stored as wide ones


class _Working(NamedTuple):
    """Bytes per number that one layer keeps: per hidden, per widest MLP and per (padded) query number."""

    hidden: float
    wide: float
    query: float


_KEPT_TRAINED = _Working(10, 7, 24)  # without rematerialisation; flash attention keeps two float32 lanes rows per head
_KEPT_FROZEN = _Working(14, 8, 26)
_REDONE_TRAINED = 24  # bytes per wide number while one layer is differentiated; half of it with frozen weights
_REDONE_FROZEN = 13
_SCORE_BYTES = 9  # of each attention score without a flash kernel
# TPU7x holds scores even with the flash kernel (5 bytes each are left in the backward pass), and lays the stacked
# weights out anew: this many copies of them all in bfloat16, or of one layer where they are quantised.
_TPU7X_SCORE_BYTES_BACKWARD = 5
_TPU7X_COPIES = {"full": 0.7, "freeze": 0.7, "lora": 1.6, "dora": 1.6}
_TPU7X_LAYERS = 2.0
_TILED_HEAD_COPIES = 2.5  # a loss in tiles carries copies of the vocabulary matrix through its loop
_QK_NORM = 8  # bytes per query and key number that a norm on them keeps
_GATHERED_LAYERS = 3  # FSDP: this layer's weights, the next one's, and one unsharded gradient


def phase_parts(spec: ModelSpec, options: Options, held: States) -> dict[str, Parts]:
    """The phases of one step on one TPU device; sharding over several is FSDP whatever the options say."""
    sizes = _sizes(spec, options, held)
    return {
        name: Parts(round(sizes.weights), round(gradients), round(sizes.optimizer), *map(round, rest))
        for name, (gradients, *rest) in _moments(spec, options, sizes).items()
    }


class _Sizes(NamedTuple):
    weights: float
    optimizer: float
    gradients: float
    saved: float
    redone: float
    scores_gone: float  # part of `redone` that the backward pass no longer holds
    logits: float
    head: float  # one bfloat16 copy of the vocabulary matrix
    cast: float  # bfloat16 copies of float32 weights
    gathered: float
    copies: float  # of weights in another layout


def _moments(spec: ModelSpec, options: Options, sizes: _Sizes) -> dict[str, tuple[float, float, float, float]]:
    """`(gradients, activations, logits, workspace)` of each phase."""
    wide_master = 2.0 if options.dtype in ("amp", "fp32") and not options.adapts else 1.0
    table_gradients = 0.0
    if options.method == "full":
        table_gradients = sizes.head * wide_master * (4 if options.loss == "chunked" else 2) / options.devices
    loss_workspace = sizes.head + sizes.cast + (2 * sizes.head if sizes.cast else 0.0)
    backward = table_gradients + sizes.gathered + sizes.copies
    layer = sizes.redone - sizes.scores_gone
    if options.adapts:  # frozen weights are laid out anew for the forward pass too
        loss_workspace += sizes.copies + (_TILED_HEAD_COPIES * sizes.head if options.loss == "chunked" else 0.0)
    return {
        "forward": (0.0, sizes.saved + sizes.redone, 0.0, sizes.cast + sizes.gathered),
        "loss": (0.0, sizes.saved + sizes.redone, sizes.logits, loss_workspace),
        "last_layer": (sizes.gradients, sizes.saved + layer, 0.0, backward),
        "first_layer": (sizes.gradients, layer, 0.0, backward),
        "end_backward": (sizes.gradients, 0.0, 0.0, table_gradients),
        "optimizer": (sizes.gradients, 0.0, 0.0, 0.0),
    }


def _sizes(spec: ModelSpec, options: Options, held: States) -> _Sizes:
    shape, counts, devices = spec.shape, spec.counts, options.devices
    tokens = -(-options.batch // devices) * options.sequence_length
    base, adapters = _weights(spec, options, held)
    trained = held.trainable.sum
    replicas = 1 if options.adapts else devices  # adapters are small and lie on every device
    gradients = trained * held.gradient_bytes / replicas
    head = 2.0 * shape.vocab * shape.hidden
    layers = options.train_layers if options.method == "freeze" else shape.layers
    scores = _scores(shape, options)
    kept = _kept_bytes(shape, options) * tokens + scores
    if options.checkpointing:
        saved = 2.0 * shape.hidden * tokens * shape.layers
    else:
        saved = kept * layers + (2.0 * layer_linear(shape) * shape.layers if options.method == "qlora" else 0.0)
    redone = (_REDONE_FROZEN if options.adapts else _REDONE_TRAINED) * _wide(shape) * tokens
    amp = options.dtype == "amp" and not options.adapts
    seven = options.chip == "tpu7x"
    gathered = 0.0
    if devices > 1 and not options.adapts:
        gathered = _GATHERED_LAYERS * 2.0 * layer_parameters(shape)
        gathered = min(gathered, (1 - 1 / devices) * (base + trained * held.gradient_bytes))
    return _Sizes(
        weights=base / devices + adapters,
        optimizer=trained * held.optimizer_bytes / replicas,
        gradients=gradients,
        saved=saved,
        redone=redone + scores if options.checkpointing else 0.0,
        scores_gone=scores * (1 - _TPU7X_SCORE_BYTES_BACKWARD / _SCORE_BYTES)
        if seven and options.checkpointing
        else 0.0,
        logits=float(LOGIT_BYTES * shape.vocab * tokens) / (LOSS_CHUNKS if options.loss == "chunked" else 1),
        head=head,
        cast=2.0 * counts.total / devices if amp else 0.0,
        gathered=gathered,
        copies=_tpu7x_copies(spec, options) / replicas if seven else 0.0,
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
    return INT4_BYTES_PER_WEIGHT * quantised + held.weight_bytes * (counts.total - quantised), adapters


def _tpu7x_copies(spec: ModelSpec, options: Options) -> float:
    if options.method == "qlora":
        return _TPU7X_LAYERS * 2.0 * layer_parameters(spec.shape)
    return _TPU7X_COPIES[options.method] * 2.0 * (spec.params_linear + spec.params_experts)


def _wide(shape: Shape) -> int:
    """The widest array of one layer, per token."""
    dense = 0 if shape.experts and shape.traits.blocks_per_layer == 1 else shape.intermediate
    return max(dense, shape.expert_intermediate * shape.top_k, shape.query_width)


def _kept_bytes(shape: Shape, options: Options) -> float:
    working = _KEPT_FROZEN if options.adapts else _KEPT_TRAINED
    padded = -(-shape.head_dim // LANES) * LANES * shape.heads * shape.traits.blocks_per_layer
    normed = 0 if shape.qk_norm == "none" else _QK_NORM * (shape.query_width + shape.key_width)
    return working.hidden * shape.hidden + working.wide * _wide(shape) + working.query * padded + normed


def _scores(shape: Shape, options: Options) -> float:
    if options.attention != "eager" and options.chip != "tpu7x":
        return 0.0
    sequences = -(-options.batch // options.devices)
    return float(_SCORE_BYTES * shape.heads * options.sequence_length**2 * sequences)
