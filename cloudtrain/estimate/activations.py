"""What one decoder layer keeps for the backward pass, per token: tensor by tensor, in the Hugging Face stack."""

from __future__ import annotations

from typing import NamedTuple

from cloudtrain.estimate.options import Options
from cloudtrain.estimate.states import adapts_each_expert
from cloudtrain.models.adapters import adapted_attention, adapted_mlps
from cloudtrain.models.shape import Linear, Shape, attention_linears, mlp_linears


class LayerBytes(NamedTuple):
    """Bytes per token: `whole` lie on every device of a tensor-parallel group, `split` are divided among them."""

    whole: float
    split: float

    def plus(self, whole: float, split: float = 0.0) -> LayerBytes:
        """This and that."""
        return LayerBytes(self.whole + whole, self.split + split)


class Precision(NamedTuple):
    """Bytes of the numbers a layer works with."""

    compute: int  # what matrices multiply in
    stream: int  # what is handed from layer to layer
    trained: bool  # the base weights get gradients
    amp: bool  # float32 weights cast to bfloat16 where they multiply


def precision(options: Options) -> Precision:
    """The working precision under checked `options`."""
    upcast = options.embed_fp32 and options.adapts
    amp = options.dtype == "amp" and not options.adapts
    return Precision(
        compute=4 if options.dtype == "fp32" else 2,
        stream=4 if upcast or amp or options.dtype == "fp32" else 2,
        trained=not options.adapts,
        amp=amp,
    )


def layer_bytes(shape: Shape, options: Options) -> LayerBytes:
    """Bytes one layer saves per token with fused attention (estimation.md section 7, "Saved per layer per token").

    Score matrices of eager attention come on top (`score_bytes`): they grow with the length, not with the token.
    """
    numbers = precision(options)
    total = LayerBytes(shape.traits.norms * _norm(shape, numbers, shape.hidden), 0.0)
    experts_trained = numbers.trained or adapts_each_expert(shape, options)
    experts = _experts(shape, numbers, trained=experts_trained)
    for part in (_attention(shape, options, numbers), _mlp(shape, options, numbers), experts):
        total = total.plus(part.whole, part.split)
    return total.plus(_extras(shape, options))


class Scores(NamedTuple):
    """Bytes per sequence of one layer's eager attention: kept for backward, and more while it is differentiated."""

    kept: float
    transient: float


def score_bytes(shape: Shape, options: Options) -> Scores:
    """The heads x length x length scores of eager attention; nothing with a fused kernel.

    Probabilities are kept in float32 and in the working type; Gemma 2 keeps its capped scores too, gpt-oss only what
    the working type holds.
    """
    if options.attention != "eager":
        return Scores(0.0, 0.0)
    compute = 4 if options.dtype == "fp32" else 2
    kept = {"gemma2": 4 + 2 * compute, "gpt_oss": compute}.get(shape.family, 4 + compute)
    scores = float(shape.heads * options.sequence_length**2)
    return Scores(kept * scores, (4 + compute) * scores)


def _norm(shape: Shape, numbers: Precision, width: int) -> int:
    """An RMSNorm keeps its float32 input, and what its weight multiplies when that is trained (Gemma: in float32)."""
    if not numbers.trained:
        return 4 * width
    wide = shape.family.startswith("gemma") or numbers.stream == 4
    return (8 if wide else 6) * width


def _inputs(linears: tuple[Linear, ...]) -> int:
    return sum(linear.inputs for linear in linears)


def _adapter_inputs(linears: tuple[Linear, ...], numbers: Precision) -> int:
    """Numbers kept as inputs of adapters: under autocast a cast copy each, in float32 the shared input itself once."""
    if numbers.compute == 2:
        return _inputs(linears)
    return max((linear.inputs for linear in linears if linear.role != "o"), default=0)


def _attention(shape: Shape, options: Options, numbers: Precision) -> LayerBytes:
    adapted = _adapter_inputs(adapted_attention(shape, options.targets), numbers) if options.adapts else 0
    block = _latent_attention(shape, numbers) if shape.traits.mla else _plain_attention(shape, options, numbers)
    block = block.plus(numbers.compute * adapted)
    reps = shape.traits.blocks_per_layer
    return LayerBytes(block.whole * reps, block.split * reps)


def _plain_attention(shape: Shape, options: Options, numbers: Precision) -> LayerBytes:
    query, key = shape.query_width, shape.key_width
    block = LayerBytes(0.0, 2 * numbers.compute * (query + key) + 4 * shape.heads)  # q, o, k, v and the log-sums
    if shape.qk_norm != "none":
        block = block.plus(0.0, _norm(shape, numbers, query + key))
    block = block.plus(*_masked(shape, options, numbers))
    if (
        shape.traits.fused
    ):  # values are a view of the fused output, which keeps it alive together with the rotated copies
        block = block.plus(0.0, numbers.compute * (query + key))
    if not numbers.trained:
        return block
    casts = 3 if numbers.amp and not shape.traits.fused else 1  # autocast keeps one cast per matrix, not per input
    return block.plus(casts * numbers.compute * shape.hidden)


def _masked(shape: Shape, options: Options, numbers: Precision) -> LayerBytes:
    """What an explicit mask adds: keys and values repeated for every query head, and the mask in the working type.

    Eager attention always repeats. Fused attention takes a mask, and then repeats, only in layers whose sliding window
    is no longer than the sequence; a single key head is repeated without a copy.
    """
    repeated = 2 * numbers.compute * (shape.query_width - shape.key_width) if shape.kv_heads > 1 else 0
    if options.attention == "eager":
        unsaved = 0 if numbers.trained else numbers.compute * shape.query_width  # its result is no input of its own
        return LayerBytes(0.0, repeated - unsaved)
    if not shape.sliding_layers or options.sequence_length < shape.sliding_window:
        return LayerBytes(0.0, 0.0)
    masked = shape.sliding_layers / shape.layers
    return LayerBytes(masked * numbers.compute * options.sequence_length, masked * repeated)


def _latent_attention(shape: Shape, numbers: Precision) -> LayerBytes:
    """MLA: both low-rank latents, their norms, and full queries, keys (twice: with and without position) and values."""
    latent = shape.q_rank + shape.kv_rank
    whole = (6 if numbers.trained else 4) * latent
    if numbers.trained:
        whole += numbers.compute * (shape.hidden + latent)
    heads = shape.heads * (2 * shape.head_dim + shape.qk_nope + 2 * shape.v_head)
    return LayerBytes(whole, numbers.compute * heads + 4 * shape.heads)


def _layer_mlp(shape: Shape) -> tuple[int, int]:
    """`(width, how many)` of the MLPs that every token passes in one usual layer."""
    if shape.traits.blocks_per_layer == 2:
        return shape.intermediate, 2
    if shape.experts:
        return shape.shared_width, 1 if shape.shared_experts else 0
    return shape.intermediate, 1


def _mlp(shape: Shape, options: Options, numbers: Precision) -> LayerBytes:
    width, count = _layer_mlp(shape)
    if not count:
        return LayerBytes(0.0, 0.0)
    compute, hidden = numbers.compute, shape.hidden
    whole, split = 0, 3 * compute * width  # gate, up, and the activated gate
    if numbers.trained:
        casts = 2 if numbers.amp and not (shape.traits.fused or shape.traits.fused_mlp) else 1
        whole, split = casts * compute * hidden, split + compute * width
    elif adapted_mlps(shape, options.targets):
        adapted = mlp_linears(shape, width)
        whole = compute * _adapter_inputs(tuple(linear for linear in adapted if linear.role != "down"), numbers)
        split += compute * width
    return LayerBytes(whole * count, split * count)


def _experts(shape: Shape, numbers: Precision, *, trained: bool) -> LayerBytes:
    """A token's copy for each real expert, the work inside, its answer; picks of identity experts; the router."""
    if not shape.experts:
        return LayerBytes(0.0, 0.0)
    compute, hidden, width = numbers.compute, shape.hidden, shape.expert_intermediate
    copies = 3 if trained else 2
    inside = (4 if trained else 3) + (2 if shape.traits.expert_bias else 0)  # gpt-oss clamps gate and up
    identity = (shape.top_k - shape.mean_experts) * 2 * compute * hidden
    whole = shape.mean_experts * copies * compute * hidden + identity + 8 * (shape.experts + shape.zero_experts)
    return LayerBytes(whole, shape.mean_experts * inside * compute * width)


def _extras(shape: Shape, options: Options) -> float:
    """Dropout masks (4 bytes an input on a CPU, 1 elsewhere) and DoRA's rescaled outputs (4 bytes each)."""
    if not options.adapts:
        return 0.0
    width, count = _layer_mlp(shape)
    mlp = mlp_linears(shape, width) * count if adapted_mlps(shape, options.targets) else ()
    adapted = adapted_attention(shape, options.targets) * shape.traits.blocks_per_layer + mlp
    extra = 0
    if options.dropout:
        extra += (1 if options.chip and not options.chip.startswith("cpu") else 4) * _inputs(adapted)
    if options.method == "dora":
        extra += 4 * sum(linear.outputs for linear in adapted)
    return extra


def head_bytes(shape: Shape, options: Options) -> int:
    """Bytes per token that the last norm and the head keep in addition to the last layer's output.

    Read off the shared measurements: a trained norm and head keep 6 bytes per hidden number (8 in float32), frozen
    ones 2, and none when the stream is float32 already. Without checkpointing the float32 input of the norm is new.
    """
    numbers = precision(options)
    trained, frozen = {2: 6, 4: 8}[numbers.compute], {2: 2, 4: 0}[numbers.stream]
    kept = trained if options.method == "full" else frozen
    return (kept + (0 if options.checkpointing else 2)) * shape.hidden


def backward_bytes(shape: Shape, options: Options) -> int:
    """Bytes per token that live only while a layer is differentiated: gradients around its widest matrix.

    With frozen weights half of the wide ones are gone before the rest is made.
    """
    wide = 0 if shape.experts and shape.traits.blocks_per_layer == 1 else shape.intermediate
    wide = max(wide, shape.expert_intermediate * shape.top_k)
    numbers = precision(options)
    return 4 * numbers.compute * shape.hidden + (4 if numbers.trained else 2) * numbers.compute * wide


def largest_linear(shape: Shape) -> int:
    """Weights of the largest matrix that 4-bit loading dequantises at once."""
    width, _ = _layer_mlp(shape)
    linears = attention_linears(shape) + mlp_linears(shape, width)
    return max((linear.weights for linear in linears), default=0)
