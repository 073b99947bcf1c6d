"""What is the same for every model of a family: norms, biases, fused projections, and where a config.json says so."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Traits of one architecture.

    `norms` counts the hidden-wide normalisations of one layer (a LongCat layer holds two blocks, so four).
    `qk_norm`: none, `head` (one weight per head dimension) or `full` (the whole projection is normalised); where a
    config switches it on with `qk_norm_key`, models without that switch have none.
    `attention_bias`: which attention projections of the published models carry a bias: none, `qkv` or `qkvo`;
    `bias_key` switches the projections of `biased` in a config ("": no switch). `mlp_bias_key` does it for the MLPs.
    `fused`: query, key and value are one matrix, gate and up another; `fused_mlp`: only gate and up are.
    `first_dense`: leading layers without experts where no key of the config says how many.
    `shared_gate`: a gate of one number per token before the shared expert.
    `router_bias`: one trained number per expert beside the router (elsewhere it is a buffer).
    `head_bias`: the head carries a bias where the MLPs do.
    `expert_bias`: experts, router and attention sinks carry extra vectors (gpt-oss).
    `eager_only`: attention that transformers gives to no fused kernel of PyTorch (sinks, capped scores).
    """

    norms: int = 2
    qk_norm: str = "none"
    qk_norm_key: str = ""
    attention_bias: str = "none"
    bias_key: str = ""
    biased: str = "qkvo"
    mlp_bias_key: str = ""
    fused: bool = False
    fused_mlp: bool = False
    moe: bool = False
    mla: bool = False
    first_dense: int = 0
    blocks_per_layer: int = 1
    shared_gate: bool = False
    router_bias: bool = False
    head_bias: bool = False
    expert_bias: bool = False
    eager_only: bool = False
    global_every: int = 1  # one layer in this many attends to everything when a sliding window is set; 0 = none does


_BIAS = "attention_bias"

# Source: transformers 5.23.0 modeling files of each family (2026-11), checked by the exact parameter totals of the
# registry and, for every family, against models of random sizes that transformers counts on its meta device.
FAMILIES: dict[str, Family] = {
    # Those of the registry.
    "llama": Family(bias_key=_BIAS, mlp_bias_key="mlp_bias"),
    "mistral": Family(global_every=0),
    "qwen2": Family(attention_bias="qkv", biased="qkv", global_every=0),
    "qwen3": Family(qk_norm="head", bias_key=_BIAS, global_every=0),
    "qwen3_moe": Family(qk_norm="head", bias_key=_BIAS, moe=True, global_every=0),
    "mixtral": Family(moe=True, global_every=0),
    "gemma2": Family(norms=4, bias_key=_BIAS, eager_only=True, global_every=2),
    "gemma3": Family(norms=4, qk_norm="head", bias_key=_BIAS, global_every=6),
    "phi3": Family(fused=True, global_every=0),
    "olmo2": Family(qk_norm="full", bias_key=_BIAS),
    "smollm3": Family(bias_key=_BIAS, mlp_bias_key="mlp_bias", global_every=0),
    "gpt_oss": Family(
        attention_bias="qkvo", bias_key=_BIAS, moe=True, expert_bias=True, eager_only=True, global_every=2
    ),
    "deepseek_v3": Family(bias_key=_BIAS, moe=True, mla=True),
    "longcat_flash": Family(norms=4, bias_key=_BIAS, moe=True, mla=True, blocks_per_layer=2),
    "longcat_flash_ngram": Family(norms=4, bias_key=_BIAS, moe=True, mla=True, blocks_per_layer=2),
    # Dense variations of these.
    "cohere": Family(norms=1, qk_norm="full", qk_norm_key="use_qk_norm", bias_key=_BIAS),
    "cohere2": Family(norms=1, bias_key=_BIAS, global_every=4),
    "ernie4_5": Family(bias_key="use_bias", mlp_bias_key="use_bias"),
    "exaone4": Family(qk_norm="head", global_every=4),
    "gemma": Family(bias_key=_BIAS),
    "glm": Family(attention_bias="qkv", bias_key=_BIAS, biased="qkv", fused_mlp=True),
    "glm4": Family(norms=4, attention_bias="qkv", bias_key=_BIAS, biased="qkv", fused_mlp=True),
    "granite": Family(bias_key=_BIAS, mlp_bias_key="mlp_bias"),
    "hunyuan_v1_dense": Family(qk_norm="head", bias_key=_BIAS),
    "ministral": Family(global_every=0),
    "ministral3": Family(global_every=0),
    "olmo3": Family(qk_norm="full", bias_key=_BIAS, global_every=4),
    "seed_oss": Family(attention_bias="qkv", bias_key=_BIAS, biased="qkv", mlp_bias_key="mlp_bias"),
    # Mixtures of experts.
    "dots1": Family(qk_norm="head", bias_key=_BIAS, moe=True),
    "ernie4_5_moe": Family(bias_key="use_bias", mlp_bias_key="use_bias", moe=True, router_bias=True, head_bias=True),
    "glm4_moe": Family(
        qk_norm="head", qk_norm_key="use_qk_norm", attention_bias="qkv", bias_key=_BIAS, biased="qkv", moe=True
    ),
    "glm4_moe_lite": Family(bias_key=_BIAS, moe=True, mla=True, first_dense=1),
    "granitemoe": Family(bias_key=_BIAS, moe=True),
    "granitemoeshared": Family(bias_key=_BIAS, moe=True),
    "minimax_m2": Family(qk_norm="full", moe=True),
    "olmoe": Family(qk_norm="full", bias_key=_BIAS, moe=True),
    "qwen2_moe": Family(
        attention_bias="qkv", bias_key="qkv_bias", biased="qkv", moe=True, shared_gate=True, global_every=2
    ),
}

# An architecture that is counted as a whole (`Shape.counted`): activations as of a plain decoder of the same sizes.
COUNTED = Family()

# Spellings of `model_type` in config.json files whose architecture is one of the above.
MODEL_TYPES: dict[str, str] = {
    **{name: name for name in FAMILIES},
    "gemma3_text": "gemma3",
    "kimi_k2": "deepseek_v3",
    "qwen2_vl_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen3_vl_text": "qwen3",
    "qwen3_vl_moe_text": "qwen3_moe",
}


def sliding_layers(layers: int, window: int, global_every: int) -> int:
    """How many of `layers` attend only to the last `window` tokens, in a family's default pattern."""
    if not window or global_every == 1:
        return 0
    return layers if global_every == 0 else layers - layers // global_every
