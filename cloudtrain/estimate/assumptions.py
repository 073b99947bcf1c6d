"""Every choice behind a memory estimate, each with its source: what `--explain` prints."""

from __future__ import annotations

from cloudtrain.estimate import budget, hardware
from cloudtrain.estimate.options import Options
from cloudtrain.estimate.phases import LOSS_CHUNKS
from cloudtrain.models.spec import NF4_BYTES_PER_WEIGHT, ModelSpec

_LOADERS = {"torch": "torch-cpu", "tpu": "tpu", "mlx": "mlx"}  # the back end that loads where no chip is named
_SHARDING = {
    "fsdp": "FSDP: weights, gradients and optimiser states divided, at most two layers gathered (not traced by us)",
    "zero2": "ZeRO-2: gradients and optimiser states divided, weights on every device (not traced by us)",
    "tp": "tensor parallel: matrices, heads and vocabulary divided, the hidden stream not (not traced by us)",
    "ep": "expert parallel: experts divided where that saves memory, the rest on every device (not traced by us)",
    "pp": "pipeline: layers divided, the first stage keeps its micro-batches in flight (not traced by us)",
}


def describe(spec: ModelSpec, options: Options) -> tuple[str, ...]:
    """What checked `options` assume for `spec`, one line each."""
    said = [
        f"{spec.name}: {spec.params_total:,} parameters {_counting(spec)}",
        *of_the_repository(spec, options),
        _method(options),
        f"{options.batch} x {options.sequence_length} tokens per micro-step over {options.devices} device(s)",
        _weights(spec, options),
        _activations(options),
        _loss(options),
    ]
    if spec.shape.experts:
        said.append(_experts(spec, options))
    if options.devices > 1:
        said.append(_SHARDING["fsdp" if options.estimator == "tpu" else options.sharding])
    if spec.shape.traits.mla and options.estimator == "torch":
        said.append("MLA values are padded to the width of the keys, so that a fused attention kernel takes them")
    if options.attention == "eager":
        said.append("eager attention: the scores of every head are held (sequence length squared)")
    said.append(f"required = live: {budget.margin(options).reason}")
    return tuple(said)


def of_the_repository(spec: ModelSpec, options: Options) -> tuple[str, ...]:
    """What the model's own repository makes of it: a wrapper's language model, packed weights, a refusal."""
    if spec.is_usual(options.sequence_length) and not spec.published.text_type:
        return ()
    from cloudtrain.models import loadable

    published = spec.published
    backend = hardware.find(options.chip).backend if options.chip else _LOADERS[options.estimator]
    said = []
    if published.text_type:
        said.append(f"of `{published.model_type}` only the language model is counted: rows are text")
    said += loadable.remarks(spec, options.method, backend)
    said += [
        f"the trainer would refuse it: {refusal.reason}; {refusal.hint}"
        for refusal in loadable.refusals(spec, options.method, options.sequence_length, backend)
    ]
    return tuple(said)


def _counting(spec: ModelSpec) -> str:
    if spec.shape.counted is None:
        return f"counted from the shapes of the {spec.family} architecture"
    return (
        f"{spec.shape.counted.how}; not estimated by phases: activations are those of a plain decoder of the same "
        f"sizes, and no step of the {spec.family} architecture was traced"
    )


def _method(options: Options) -> str:
    if options.adapts:
        return (
            f"{options.method}: rank {options.rank} on {options.targets} as PEFT 0.21 places it, "
            f"adapters in {options.adapter_dtype}, {options.optimizer}"
        )
    if options.method == "freeze":
        return f"freeze: the last {options.train_layers} layers are trained, {options.optimizer}"
    return f"full: every parameter is trained in {options.dtype}, {options.optimizer}"


def _weights(spec: ModelSpec, options: Options) -> str:
    if options.method != "qlora":
        wide = options.dtype == "fp32" or (options.dtype == "amp" and not options.adapts)
        return f"weights in {'float32' if wide else 'bfloat16'}"
    if options.estimator == "tpu":
        return "matrices in int4 with a scale per 64 weights, embeddings and head in bfloat16"
    if options.estimator == "mlx":
        return "matrices, embeddings and head in 4 bit with a scale and a bias per 64 weights (mlx-lm's default)"
    tables = "; n-gram tables stay in bfloat16" if spec.shape.ngram_tables else ""
    upcast = ", upcast to float32" if options.embed_fp32 else ""
    tables_in = "float32" if options.dtype == "fp32" else "16 bit"
    return (
        f"matrices in NF4 ({NF4_BYTES_PER_WEIGHT:.4f} bytes a weight), "
        f"embeddings and head in {tables_in}{upcast}{tables}"
    )


def _activations(options: Options) -> str:
    if options.checkpointing:
        return "gradient checkpointing: each layer keeps its input and is computed twice"
    return "no gradient checkpointing: every layer keeps its activations"


def _loss(options: Options) -> str:
    if options.estimator == "mlx":
        return "logits stay in 16 bit (mlx-lm 0.32.2, tuner/trainer.py: only the summed loss is float32)"
    if options.loss == "chunked":
        return (
            f"chunked cross-entropy: one {LOSS_CHUNKS}th of the logits at a time (Liger, torchtune, TRL's fused head)"
        )
    if options.dtype == "fp32":
        return "Hugging Face loss: all logits at once, several times in float32"
    return "Hugging Face loss: all logits at once, in 16 bit and twice in float32"


def _experts(spec: ModelSpec, options: Options) -> str:
    if options.method != "qlora":
        return f"experts ({spec.params_experts:,} parameters) in 16 bit or wider"
    if not options.experts_4bit:
        return "experts stay in bfloat16: stock transformers 5 with bitsandbytes leaves them so (bitsandbytes#1849)"
    if options.expert_dequant == "single":
        return "experts in 4 bit, one dequantised at a time (transformers 4.57 module experts)"
    return "experts in 4 bit, a whole layer's dequantised together"
