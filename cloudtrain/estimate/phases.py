"""The six moments of a training step at which memory can peak, each split into the parts people ask about."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate import activations
from cloudtrain.estimate.options import Options
from cloudtrain.estimate.sharding import Share
from cloudtrain.estimate.states import Kinds, States
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec

LOSS_CHUNKS = 8  # chunked cross-entropy holds one eighth of the logits at a time, as in the shared measurements


class Parts(NamedTuple):
    """Bytes of one device at one moment."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    workspace: int

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self)


class Moment(NamedTuple):
    """What one phase adds to the weights and optimiser states that are always there."""

    gradients: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    workspace: float = 0.0


class _LogitBytes(NamedTuple):
    """Bytes per token and vocabulary entry at the end of forward, and at the start of backward."""

    forward: int
    loss: int


def _logit_bytes(shape: Shape, options: Options) -> _LogitBytes:
    """Hugging Face: 16-bit logits and float32 copies of them. MLX: 16-bit logits, their exponents, the gradient.

    Gemma 2 caps its logits with a tanh, whose result is kept too.
    """
    capped = (4 if options.dtype == "fp32" else 2) if shape.family == "gemma2" else 0
    if options.estimator == "mlx":
        return _LogitBytes(4 + capped, 6 + capped)
    return _LogitBytes((8 if options.dtype == "fp32" else 10) + capped, 12 + capped)


class _Sizes(NamedTuple):
    """The bytes that the phases combine, of one device."""

    gradients: float
    table_gradient: float  # of the head, whole, before it is reduced
    table_gradient_held: float  # its share inside `gradients`
    layer_gradient: float  # of one layer: in the first layer's backward these are only coming to be
    accumulated: float
    saved: float
    layer: float
    boundary: float
    head_input: float
    backward: float
    experts: float
    cast: float
    cast_held: float
    gathered: float


def phase_parts(spec: ModelSpec, options: Options, held: States, share: Share) -> dict[str, Parts]:
    """The six phases of one steady step on one device (estimation.md section 7, "Phases")."""
    sizes = _sizes(spec, options, held, share)
    weights = held.weights.times(share.weights).sum
    optimizer = held.trainable.times(share.states).sum * held.optimizer_bytes
    return {
        name: Parts(
            round(weights),
            round(moment.gradients),
            round(optimizer),
            round(moment.activations),
            round(moment.logits),
            round(moment.workspace),
        )
        for name, moment in _moments(spec, options, sizes, share).items()
    }


def _moments(spec: ModelSpec, options: Options, sizes: _Sizes, share: Share) -> dict[str, Moment]:
    shape = spec.shape
    tokens = share.batch * options.sequence_length
    vocab = shape.vocab * tokens * share.width / (LOSS_CHUNKS if options.loss == "chunked" else 1)
    checkpointed = sizes.layer if options.checkpointing else 0.0
    working = sizes.backward + sizes.experts + sizes.gathered
    kept = sizes.saved + sizes.head_input
    tied = shape.tied and options.method == "full"
    logit_bytes = _logit_bytes(shape, options)
    return {
        "forward": Moment(
            sizes.accumulated,
            kept,
            vocab * logit_bytes.forward,
            sizes.cast + sizes.gathered,
        ),
        "loss": _loss(options, sizes, vocab * logit_bytes.loss),
        "last_layer": Moment(sizes.accumulated + sizes.table_gradient, kept + checkpointed, 0.0, working),
        "first_layer": Moment(
            max(sizes.gradients - sizes.table_gradient_held - sizes.layer_gradient, 0.0),
            sizes.layer + (0.0 if options.method == "freeze" else 2 * sizes.boundary),
            0.0,
            working,
        ),
        "end_backward": Moment(
            sizes.gradients,
            sizes.boundary,
            0.0,
            (1 if options.dtype == "amp" else 2) * sizes.table_gradient if tied else 0.0,
        ),
        "optimizer": Moment(sizes.gradients, 0.0, 0.0, _optimizer_workspace(spec, options, sizes)),
    }


def _loss(options: Options, sizes: _Sizes, logits: float) -> Moment:
    """Start of backward. A chunked loss sums the head's gradient chunk by chunk: old, new and their sum at once."""
    kept = sizes.saved + sizes.head_input
    workspace = sizes.cast_held + sizes.gathered
    if options.loss == "hf" or not sizes.table_gradient:
        return Moment(sizes.accumulated, kept, logits, workspace)
    table = sizes.table_gradient / (2 if options.dtype == "amp" else 1)  # made in bfloat16 under autocast
    if logits + table > 3 * table:
        return Moment(sizes.accumulated + table, kept, logits, workspace + (table if options.dtype == "amp" else 0.0))
    return Moment(sizes.accumulated + 3 * table, kept, 0.0, workspace)


def _trained_layers(shape: Shape, options: Options) -> int:
    return options.train_layers if options.method == "freeze" else shape.layers


def _optimizer_workspace(spec: ModelSpec, options: Options, sizes: _Sizes) -> float:
    """`foreach` AdamW updates a copy of all parameters at once; Adafactor three float32 copies of one tensor."""
    if options.optimizer == "adamw_foreach":
        return sizes.gradients
    if options.optimizer != "adafactor" or options.adapts:
        return 0.0
    if options.method != "freeze":
        return 12.0 * spec.counts.largest
    return 12.0 * min(
        spec.counts.largest, max(sizes.gradients / 2, 1.0)
    )  # no trained tensor is larger than all of them


def _sizes(spec: ModelSpec, options: Options, held: States, share: Share) -> _Sizes:
    shape = spec.shape
    numbers = activations.precision(options)
    tokens = share.batch * options.sequence_length
    per_token = activations.layer_bytes(shape, options)
    scores = activations.score_bytes(shape, options)
    sequences = share.batch * share.width
    layer = (per_token.whole + per_token.split * share.width) * tokens + scores.kept * sequences
    boundary = float(numbers.stream * shape.hidden * tokens)
    if options.checkpointing:  # a checkpoint holds the input of frozen layers too
        saved = boundary * (shape.layers * share.depth + 1)
    else:
        saved = layer * share.depth * (options.train_layers if options.method == "freeze" else shape.layers)
    gradients = held.trainable.times(share.states).times(held.gradient_bytes)
    table = float(shape.vocab * shape.hidden * held.weight_bytes) if options.method == "full" else 0.0
    cast, cast_held = _casts(spec, options, held, share)
    return _Sizes(
        gradients=gradients.sum,
        table_gradient=table * share.width,
        table_gradient_held=table * share.states.tables,
        layer_gradient=(gradients.dense + gradients.experts) / _trained_layers(shape, options),
        accumulated=gradients.sum if options.grad_accum > 1 else 0.0,
        saved=saved + _experts_kept(spec, options, held, share.weights),
        layer=layer,
        boundary=boundary,
        head_input=float(activations.head_bytes(shape, options) * tokens),
        backward=activations.backward_bytes(shape, options) * tokens
        + scores.transient * sequences
        + share.exchange * tokens,
        experts=_experts_at_work(shape, options, held, share),
        cast=cast,
        cast_held=cast_held,
        gathered=share.gathered,
    )


def _adapter_casts(options: Options, held: States, share: Share) -> float:
    """bfloat16 copies of float32 adapters, those of experts apart (PEFT folds them in); MLX makes none."""
    if options.dtype == "fp32" or options.adapter_dtype == "bf16" or options.estimator == "mlx":
        return 0.0
    return 2.0 * held.trainable.dense * share.weights.dense


def _casts(spec: ModelSpec, options: Options, held: States, share: Share) -> tuple[float, float]:
    """bfloat16 copies of float32 weights that autocast caches: during forward, and what is still there at the loss."""
    shape, counts = spec.shape, spec.counts
    head = 2.0 * shape.vocab * shape.hidden * share.width
    if options.adapts:
        upcast = head if options.embed_fp32 else 0.0
        adapters = _adapter_casts(options, held, share)
        return upcast + adapters, upcast + (0.0 if options.checkpointing else adapters)
    if options.dtype != "amp":
        return 0.0, 0.0
    trained = _trained_layers(shape, options) / shape.layers  # autocast caches copies of trained weights only
    cast = Kinds(2.0 * counts.linear, 2.0 * counts.experts, 0.0).times(share.weights).sum * trained + head
    return cast, head if options.checkpointing else cast


def _materialised(shape: Shape, options: Options, held: States) -> tuple[int, int]:
    """`(bytes per weight, experts at once)` of bfloat16 experts that exist only while they are used.

    PEFT's wrapper of adapted experts builds weight + delta for a whole layer (3 bytes a weight on the peak); 4-bit
    experts are dequantised a layer or one expert at a time. gpt-oss experts are neither adapted nor quantised here.
    """
    if options.estimator == "mlx":  # its kernels multiply by the packed experts, and adapters stay factored
        return 0, 0
    if held.expert_adapters:
        return 3, shape.experts
    if options.experts_4bit:
        return 2, shape.experts if options.expert_dequant == "layer" else 1
    return 0, 0


def _experts_at_work(shape: Shape, options: Options, held: States, share: Share) -> float:
    bytes_per_weight, experts = _materialised(shape, options, held)
    if not options.checkpointing and experts > 1:
        return 0.0  # then every layer's copy is kept, see `_experts_kept`
    share_here = share.weights.experts if share.width < 1 or share.exchange else 1.0
    return max(bytes_per_weight * shape.expert_weights * experts * share_here, 0.0)


def _experts_kept(spec: ModelSpec, options: Options, held: States, share: Kinds) -> float:
    """Without checkpointing the materialised experts of every layer stay alive for the backward pass."""
    _, experts = _materialised(spec.shape, options, held)
    if options.checkpointing or experts <= 1:
        return 0.0
    return 2.0 * spec.params_experts * share.experts
