"""The model: in bf16 (float32 where that is faster) or NF4, with the layers chosen that are to learn."""

from __future__ import annotations

from typing import Any

import kept
from devices import DEVICES
from failures import BadJob, one_line
from job import Job
from number_type import in_bf16

# Projections of queries and values, separate, fused with the keys, and in multi-head latent attention (MLA).
QUERY_AND_VALUE = {
    *("q_proj", "v_proj", "q_lin", "v_lin", "query", "value"),
    *("qkv_proj", "qkv", "query_key_value", "c_attn", "Wqkv", "W_pack"),
    *("q_b_proj", "kv_b_proj"),
}
# Of attention, also where the layer that holds them is called otherwise (Nemotron-H says `mixer`).
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
# Routers choose experts with the bare weight, past any adapter: one there would never get a gradient. (LongCat calls
# its router's layer `classifier`.)
ROUTERS = {"router", "gate", "classifier", "shared_expert_gate"}


def load_model(job: Job) -> Any:
    """The causal language model on the job's device, ready for its method. Raises BadJob when it cannot be loaded."""
    import torch
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(job.model, revision=job.revision, trust_remote_code=False)
        _check_length(config, job)
        options: dict[str, Any] = {"revision": job.revision, "trust_remote_code": False}
        wide = job.dtype == "amp" or not in_bf16(job)
        options["dtype"] = torch.float32 if wide else torch.bfloat16
        if job.method == "qlora":
            options["quantization_config"] = four_bit(config.model_type, options["dtype"])
        elif (unpacking := unpacked(config)) is not None:
            options["quantization_config"] = unpacking
        if job.method == "qlora" or job.accelerator != "cpu":
            options["device_map"] = {"": DEVICES[job.accelerator]}
        model = kept.load(job, config, options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BadJob(f"cannot load {job.model}: {one_line(error)}") from None
    keep_fused_attention(model)
    if job.adapter:
        drop_towers(model)
    if job.method == "qlora":
        keep_training_kernels(model)
    if job.method == "freeze":
        freeze_all_but_last(model, job.train_layers)
    return model


def four_bit(model_type: str, compute_dtype: Any) -> Any:
    """NF4 with double quantisation: 0.516 bytes a parameter. Embeddings, head and LongCat's router stay wide."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
        # Naming any module replaces the default list, which already finds every other family's head.
        llm_int8_skip_modules=["lm_head", "classifier"] if model_type.startswith("longcat") else None,
    )


def unpacked(config: Any) -> Any:
    """What makes transformers unpack weights that are published in fp8 or mxfp4 while it loads them; None for others.

    Left alone it does so only on devices without kernels for them, and what those kernels compute cannot be trained.
    """
    import transformers

    classes = {"fp8": "FineGrainedFP8Config", "mxfp4": "Mxfp4Config"}
    published = getattr(config, "quantization_config", None)
    name = classes.get(published.get("quant_method", "")) if isinstance(published, dict) else None
    return getattr(transformers, name).from_dict({**published, "dequantize": True}) if name else None


def keep_fused_attention(model: Any) -> None:
    """Switch off the dropout inside a model's own attention (Seed-OSS and Granite publish 0.1).

    PyTorch has no fused kernel with it on a processor: it would hold the scores of every head, sequence length squared,
    and a sequence of 4,096 tokens take twice the memory. An adapter's dropout is the job's own.
    """
    for module in model.modules():
        if isinstance(getattr(module, "attention_dropout", None), int | float):
            module.attention_dropout = 0.0


def drop_towers(model: Any) -> None:
    """Let go of what reads pictures or sound in a model that came with them: rows are text, and adapters stay off it.

    The names of the language model's layers stay as they are, so that an adapter fits the model as it is published.
    """
    if model.config.get_text_config() is model.config:
        return
    decoder, base = model.get_decoder(), model.base_model
    if base in (decoder, model):
        return
    for name, part in list(base.named_children()):
        if part is not decoder and decoder not in part.modules():
            delattr(base, name)


def keep_training_kernels(model: Any) -> None:
    """Stop bitsandbytes (0.50.2) from repacking 4-bit weights during evaluation on CPUs with AVX512-BF16.

    The repacked form has no backward pass: after one evaluation the gradients of all layers below were wrong by 93 %,
    with no warning. With the switch off they are equal before and after.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def freeze_all_but_last(model: Any, count: int) -> None:
    """Let only the last `count` decoder layers learn. Raises BadJob when there are fewer."""
    import torch

    language_model = model.get_decoder() or model
    stacks = [module for module in language_model.modules() if isinstance(module, torch.nn.ModuleList)]
    layers = max(stacks, key=len, default=torch.nn.ModuleList())
    if count > len(layers):
        raise BadJob(f"`train_layers` is {count}, but the model has {len(layers)} layers")
    for parameter in model.parameters():
        parameter.requires_grad = False
    for layer in layers[-count:]:
        for parameter in layer.parameters():
            parameter.requires_grad = True


def adapter_config(job: Job, model: Any) -> Any:
    """The PEFT configuration of the job's adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=job.lora.rank,
        lora_alpha=job.lora.alpha,  # type: ignore[arg-type]  # a fraction is as good
        lora_dropout=job.lora.dropout,
        target_modules=target_modules(model, job.lora.targets),
        use_dora=job.method == "dora",
        task_type="CAUSAL_LM",
    )


def target_modules(model: Any, targets: str | list[str]) -> list[str]:
    """Names of the layers that get an adapter: "qv", "attention", "all-linear", or those given.

    "all-linear" is every linear layer of attention and dense feed-forward parts: not the head, not routers, not the
    experts of a mixture (their adapters would outweigh the rest by far). Last parts of names where these suffice, full
    names where they would also catch a layer that is not meant. Raises BadJob when nothing matches.
    """
    linear = _linear_layers(model)
    if isinstance(targets, list):
        absent = [name for name in targets if not any(_is_named(layer, name) for layer in linear)]
        if absent:
            raise BadJob(f"the model has no linear layer `{absent[0]}`; it has {', '.join(_last_parts(linear))}")
        return targets
    if targets == "all-linear" and _has_fused_experts(model):
        targets = "attention"
    chosen = [name for name in linear if _is_chosen(name, targets)]
    if not chosen:
        raise BadJob(f"no layer matches `lora.targets` {targets}; the model has {', '.join(_last_parts(linear))}")
    short = _last_parts(chosen)
    caught = [name for name in linear if name.rsplit(".", 1)[-1] in short]
    return short if len(caught) == len(chosen) else chosen


def check_adapters(model: Any) -> None:
    """Raise BadJob when an adapter has landed on the experts of a mixture, where PEFT moves some names unasked."""
    for name, _ in model.named_parameters():
        if "lora_" in name and "experts" in name.split("."):
            raise BadJob("these `lora.targets` put adapters on the model's experts: use attention")


def _has_fused_experts(model: Any) -> bool:
    """Whether a layer's experts are one tensor (transformers 5), not a module each.

    PEFT 0.21 then moves every adapter named for a dense feed-forward layer onto the experts (huggingface/peft pull
    request 3715), so only attention is safe.
    """
    modules = (module for name, module in model.named_modules() if name.endswith(".experts"))
    return any(parameter.dim() == 3 for module in modules for parameter in module.parameters(recurse=False))


def _is_chosen(name: str, targets: str) -> bool:
    parts = name.split(".")
    if "indexer" in parts:  # it picks the tokens to attend to, and no gradient passes that choice
        return False
    if targets == "all-linear":
        return not (ROUTERS & set(parts) or "experts" in parts)
    attention = any("attn" in part.lower() or "attention" in part.lower() for part in parts[:-1])
    attention = attention or parts[-1] in PROJECTIONS
    return attention and (targets == "attention" or parts[-1] in QUERY_AND_VALUE)


def _linear_layers(model: Any) -> list[str]:
    """Names of all linear layers but the head."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, Conv1D)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module is not head]


def _is_named(layer: str, name: str) -> bool:
    return layer == name or layer.endswith("." + name)


def _last_parts(names: list[str]) -> list[str]:
    return sorted({name.rsplit(".", 1)[-1] for name in names})


def _check_length(config: Any, job: Job) -> None:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions and job.sequence_length > positions:
        raise BadJob(f"`sequence_length` is {job.sequence_length}, but the model has {positions} positions")
