"""What is the same for every model of a family: norms, biases, fused projections; what a config.json leaves out."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Traits of one architecture.

    `norms` counts the hidden-wide normalisations of one layer (a LongCat layer holds two blocks, so four).
    `qk_norm`: none, `head` (one weight per head dimension) or `full` (the whole projection is normalised).
    `attention_bias`: which attention projections carry a bias by default: none, `qkv` or `qkvo`.
    `fused`: query, key and value are one matrix, gate and up another. `mlp_bias`: the MLP matrices carry biases.
    `expert_bias`: experts, router and attention sinks carry extra vectors (gpt-oss).
    `eager_only`: attention that transformers gives to no fused kernel of PyTorch (sinks, capped scores).
    """

    norms: int = 2
    qk_norm: str = "none"
    attention_bias: str = "none"
    fused: bool = False
    moe: bool = False
    mla: bool = False
    blocks_per_layer: int = 1
    expert_bias: bool = False
    eager_only: bool = False
    tied_by_default: bool = False
    global_every: int = 1  # one layer in this many attends to everything when a sliding window is set; 0 = none does


# Source: transformers 5.23.0 modeling files of each family (2026-11), checked by the exact parameter totals of the
# registry. Tied embeddings by default and the sliding-window patterns are those of the families' config classes.
FAMILIES: dict[str, Family] = {
    "llama": Family(),
    "mistral": Family(global_every=0),
    "qwen2": Family(attention_bias="qkv", global_every=0),
    "qwen3": Family(qk_norm="head", global_every=0),
    "qwen3_moe": Family(qk_norm="head", moe=True, global_every=0),
    "mixtral": Family(moe=True, global_every=0),
    "gemma2": Family(norms=4, tied_by_default=True, eager_only=True, global_every=2),
    "gemma3": Family(norms=4, qk_norm="head", tied_by_default=True, global_every=6),
    "phi3": Family(fused=True, global_every=0),
    "olmo2": Family(qk_norm="full"),
    "smollm3": Family(tied_by_default=True, global_every=0),
    "gpt_oss": Family(attention_bias="qkvo", moe=True, expert_bias=True, eager_only=True, global_every=2),
    "deepseek_v3": Family(moe=True, mla=True),
    "longcat_flash": Family(norms=4, moe=True, mla=True, blocks_per_layer=2),
    "longcat_flash_ngram": Family(norms=4, moe=True, mla=True, blocks_per_layer=2),
}

# Spellings of `model_type` in config.json files whose architecture is one of the above.
MODEL_TYPES: dict[str, str] = {
    **{name: name for name in FAMILIES},
    "gemma3_text": "gemma3",
    "kimi_k2": "deepseek_v3",
}


def sliding_layers(layers: int, window: int, global_every: int) -> int:
    """How many of `layers` attend only to the last `window` tokens, in a family's default pattern."""
    if not window or global_every == 1:
        return 0
    return layers if global_every == 0 else layers - layers // global_every
