"""What each family of dense decoders does differently, read from its configuration: one short function for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import rotation
from failures import BadJob

FULL = 1 << 30  # a window that never closes

Found = tuple[Mapping[str, Any], dict[str, Any]]  # the language model's configuration, and what is the family's own
SLIDING, WHOLE = "sliding_attention", "full_attention"


def _kinds(config: Mapping[str, Any], every: int) -> list[str]:
    """What each layer attends to: as it is written, or every so many-th to everything."""
    count = config["num_hidden_layers"]
    made = [SLIDING if every and (at + 1) % every else WHOLE for at in range(count)]
    return list(config.get("layer_types") or made)[:count]


def _windows(config: Mapping[str, Any], kinds: list[str]) -> tuple[int, ...]:
    window = config.get("sliding_window") or FULL
    return tuple(window if kind == SLIDING else FULL for kind in kinds)


def _named(config: Mapping[str, Any], key: str, *names: str) -> tuple[str, ...]:
    return names if config.get(key) else ()


FEED = ("gate", "up", "down")


def _llama(config: Mapping[str, Any]) -> Found:
    biases = _named(config, "attention_bias", "q", "k", "v", "o") + _named(config, "mlp_bias", *FEED)
    return config, {"biases": biases}


def _mistral(config: Mapping[str, Any]) -> Found:
    return config, {"windows": _windows(config, _kinds(config, config["num_hidden_layers"] + 1))}


def _qwen2(config: Mapping[str, Any]) -> Found:
    kinds = _kinds(config, 0)
    if not config.get("layer_types") and config.get("use_sliding_window"):
        kinds = [SLIDING if at >= config.get("max_window_layers", 28) else WHOLE for at in range(len(kinds))]
    windows = _windows(config, kinds) if config.get("use_sliding_window") else (FULL,) * len(kinds)
    return config, {"biases": ("q", "k", "v"), "windows": windows}


def _qwen3(config: Mapping[str, Any]) -> Found:
    habits = _qwen2(config)[1] | {"qk_norm": "head", "head_dim": config.get("head_dim") or 128}
    return config, {**habits, "biases": _named(config, "attention_bias", "q", "k", "v", "o")}


def _smollm3(config: Mapping[str, Any]) -> Found:
    count, every = config["num_hidden_layers"], config.get("no_rope_layer_interval", 4)
    turns = config.get("no_rope_layers") or [(at + 1) % every != 0 for at in range(count)]
    return config, {**_llama(config)[1], "theta": 2e6, "turned": [WHOLE if turn else "" for turn in turns]}


def _olmo2(config: Mapping[str, Any]) -> Found:
    return config, {**_llama(config)[1], "norms": "post", "qk_norm": "whole", "norm_kind": "wide"}


def _olmo3(config: Mapping[str, Any]) -> Found:
    kinds = _kinds(config, 4)
    habits = {**_olmo2(config)[1], "windows": _windows(config, kinds), "turned": kinds}
    if not config.get("rope_parameters"):  # written by transformers 4: only what sees everything is stretched
        plain = {key: value for key, value in config.items() if key != "rope_scaling"}
        size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        habits["special"] = {SLIDING: rotation.from_config(plain, size, SLIDING)}
    return config, habits


def _gemma(config: Mapping[str, Any]) -> Found:
    habits = {"activation": "gelu", "norm_kind": "plus_one", "embed_scale": config["hidden_size"] ** 0.5}
    biases = _named(config, "attention_bias", "q", "k", "v", "o")
    return config, {**habits, "biases": biases, "tied": config.get("tie_word_embeddings", True)}


def _gemma2(config: Mapping[str, Any]) -> Found:
    return config, {
        **_gemma(config)[1],
        "norms": "both",
        "windows": _windows(config, _kinds(config, 2)),
        "attention_scale": config.get("query_pre_attn_scalar", 256) ** -0.5,
        "attention_softcap": config.get("attn_logit_softcapping") or 0.0,
        "final_softcap": config.get("final_logit_softcapping") or 0.0,
    }


def _gemma3_text(config: Mapping[str, Any]) -> Found:
    kinds = _kinds(config, config.get("sliding_window_pattern") or 6)
    habits = _gemma2(config)[1] | {"windows": _windows(config, kinds), "turned": kinds, "qk_norm": "head"}
    if not config.get("rope_parameters"):
        local = {"rope_theta": config.get("rope_local_base_freq") or 1e4}
        habits["special"] = {SLIDING: rotation.from_config(local, config.get("head_dim") or 256)}
    return config, {**habits, "theta": 1e6}


# What the text part of a published gemma 3 leaves out, because it is the default of its class.
GEMMA3_TEXT = {
    **{"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256},
    **{"sliding_window": 4096, "hidden_activation": "gelu_pytorch_tanh"},
}


def _gemma3(config: Mapping[str, Any]) -> Found:
    text, habits = _gemma3_text({**GEMMA3_TEXT, **config["text_config"]})
    stems = ("model.language_model", "language_model.model")
    return text, {**habits, "stem": stems[0], "stems": stems, "tied": text.get("tie_word_embeddings", True)}


def _phi3(config: Mapping[str, Any]) -> Found:
    return config, {**_mistral(config)[1], "fused": ("qkv", "gate_up")}


def _granite(config: Mapping[str, Any]) -> Found:
    return config, {
        **_llama(config)[1],
        "embed_scale": config.get("embedding_multiplier", 1.0),
        "attention_scale": config.get("attention_multiplier", 1.0),
        "residual_scale": config.get("residual_multiplier", 1.0),
        "logit_scale": 1 / config.get("logits_scaling", 1.0),
    }


def _ernie4_5(config: Mapping[str, Any]) -> Found:
    biases = _named(config, "use_bias", "q", "k", "v", "o", *FEED)
    return config, {"biases": biases, "interleaved": True, "tied": config.get("tie_word_embeddings", True)}


def _seed_oss(config: Mapping[str, Any]) -> Found:
    biases = _named(config, "attention_bias", "q", "k", "v") + _named(config, "attention_out_bias", "o")
    return config, {"biases": biases + _named(config, "mlp_bias", *FEED)}


def _exaone4(config: Mapping[str, Any]) -> Found:
    kinds = _kinds(config, config.get("sliding_window_pattern") or 0)
    turned = [WHOLE if kind == SLIDING or not config.get("sliding_window") else "" for kind in kinds]
    habits = {"norms": "post", "qk_norm": "head", "windows": _windows(config, kinds), "turned": turned}
    return config, habits


def _glm(config: Mapping[str, Any]) -> Found:
    biases = _named(config, "attention_bias", "q", "k", "v")
    partial = {"partial_rotary_factor": config.get("partial_rotary_factor", 0.5)}
    return {**config, **partial}, {"biases": biases, "interleaved": True, "fused": ("gate_up",)}


def _glm4(config: Mapping[str, Any]) -> Found:
    names = {"after_attention_norm": "post_self_attn_layernorm", "mlp_norm": "post_attention_layernorm"}
    names |= {"after_mlp_norm": "post_mlp_layernorm"}
    config, habits = _glm(config)
    return config, {**habits, "norms": "both", "norm_names": tuple(names.items())}


def _hunyuan(config: Mapping[str, Any]) -> Found:
    names = {"q_norm": "self_attn.query_layernorm", "k_norm": "self_attn.key_layernorm"}
    return config, {**_llama(config)[1], "qk_norm": "turned", "norm_names": tuple(names.items())}


def _cohere(config: Mapping[str, Any]) -> Found:
    if config.get("use_qk_norm"):
        raise BadJob(
            "this Cohere model normalises queries and keys by head: the TPU trainer has only those that do not"
        )
    habits = {"norms": "shared", "norm_kind": "centred", "interleaved": True}
    return config, {
        **habits,
        "logit_scale": config.get("logit_scale", 0.0625),
        "tied": config.get("tie_word_embeddings", True),
        "biases": _named(config, "attention_bias", "q", "k", "v", "o"),
    }


def _cohere2(config: Mapping[str, Any]) -> Found:
    kinds = _kinds(config, config.get("sliding_window_pattern") or 4)
    turned = [WHOLE if kind == SLIDING else "" for kind in kinds]
    return config, {**_cohere(config)[1], "windows": _windows(config, kinds), "turned": turned}


FAMILIES: dict[str, Callable[[Mapping[str, Any]], Found]] = {
    **{"llama": _llama, "mistral": _mistral, "qwen2": _qwen2, "qwen3": _qwen3, "smollm3": _smollm3},
    **{"olmo2": _olmo2, "olmo3": _olmo3, "gemma": _gemma, "gemma2": _gemma2, "gemma3_text": _gemma3_text},
    **{"gemma3": _gemma3, "phi3": _phi3, "granite": _granite, "ernie4_5": _ernie4_5, "seed_oss": _seed_oss},
    **{"exaone4": _exaone4, "glm": _glm, "glm4": _glm4, "hunyuan_v1_dense": _hunyuan},
    **{"cohere": _cohere, "cohere2": _cohere2, "ministral": _mistral},
}
