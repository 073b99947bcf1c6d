"""The Shape of a plain decoder from the keys of its config.json: every family of `families.py`."""

from __future__ import annotations

from typing import Any

from cloudtrain.models.families import FAMILIES, Family, sliding_layers
from cloudtrain.models.keys import Keys
from cloudtrain.models.ngram import ngram_parameters
from cloudtrain.models.shape import Shape

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
PICKS = ("num_experts_per_tok", "moe_topk", "moe_k")
EXPERT_WIDTH = ("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
SHARED_EXPERTS = ("n_shared_experts", "moe_num_shared_experts")
SHARED_WIDTH = ("shared_expert_intermediate_size", "shared_intermediate_size")


def shape(keys: Keys, family: str) -> Shape:
    """The model's shape. Raises UsageError naming the file and the key that is wrong or missing."""
    traits = FAMILIES[family]
    # LongCat's class counts its two blocks a layer as hidden layers.
    layers = keys.layers("num_layers", "num_hidden_layers") if traits.blocks_per_layer == 2 else keys.layers()
    hidden = keys.size("hidden_size")
    heads = keys.size("num_attention_heads")
    window, sliding = _sliding(keys, traits, layers)
    vocab = keys.size("vocab_size")
    tables, projections = ngram_parameters(
        vocab,
        hidden,
        keys.size("ngram_vocab_size_ratio", default=0, smallest=0),
        keys.size("emb_neighbor_num", default=0, smallest=0),
        keys.size("emb_split_num", default=0, smallest=0),
    )
    if family == "longcat_flash_ngram" and not tables:
        raise keys.refuse("ngram_vocab_size_ratio", "is missing or leaves no n-gram table")
    return Shape(
        family=family,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads if traits.mla else keys.size("num_key_value_heads", default=heads),
        head_dim=_head_dim(keys, traits, hidden, heads),
        intermediate=keys.size("intermediate_size", "ffn_hidden_size"),
        vocab=vocab,
        tied=keys.flag("tie_word_embeddings"),
        attention_bias=_attention_bias(keys, traits),
        mlp_bias=bool(traits.mlp_bias_key) and keys.flag(traits.mlp_bias_key),
        normed_heads=not traits.qk_norm_key or keys.flag(traits.qk_norm_key),
        sliding_window=window,
        sliding_layers=sliding,
        ngram_tables=tables,
        ngram_projections=projections,
        **(experts(keys, traits, layers) if traits.moe else {}),
        **(_mla(keys) if traits.mla else {}),
    )


def _head_dim(keys: Keys, traits: Family, hidden: int, heads: int) -> int:
    if traits.mla:
        return keys.size("qk_nope_head_dim") + keys.size("qk_rope_head_dim")
    return head_dim(keys, hidden, heads)


def head_dim(keys: Keys, hidden: int, heads: int) -> int:
    """Width of one head: as given, or an even share of the hidden size."""
    given = keys.size("head_dim", default=0)
    if given:
        return given
    if hidden % heads:
        raise keys.refuse("num_attention_heads", f"is {heads}, which does not divide hidden_size {hidden}")
    return hidden // heads


def _attention_bias(keys: Keys, traits: Family) -> str:
    default = traits.attention_bias != "none"
    biased = keys.flag(traits.bias_key, default=default) if traits.bias_key else default
    roles = traits.biased if biased else ""
    if keys.flag("attention_out_bias"):  # Seed-OSS has a switch of its own for the output
        roles = f"{roles.removesuffix('o')}o"
    return roles or "none"


def _mla(keys: Keys) -> dict[str, Any]:
    return {
        "q_rank": keys.size("q_lora_rank", default=0),
        "kv_rank": keys.size("kv_lora_rank"),
        "qk_nope": keys.size("qk_nope_head_dim"),
        "qk_rope": keys.size("qk_rope_head_dim"),
        "v_head": keys.size("v_head_dim"),
    }


def experts(keys: Keys, traits: Family, layers: int) -> dict[str, Any]:
    """The part of a Shape that describes its mixture of experts."""
    count = keys.size(*EXPERTS)
    zero = keys.size("zero_expert_num", default=0, smallest=0)
    top_k = keys.size(*PICKS)
    if top_k > count + zero:
        raise keys.refuse("num_experts_per_tok", f"is {top_k}, more than the {count + zero} experts")
    return {
        "experts": count,
        "top_k": top_k,
        "zero_experts": zero,
        "shared_experts": keys.size(*SHARED_EXPERTS, default=0, smallest=0),
        "shared_intermediate": keys.size(*SHARED_WIDTH, default=0, smallest=0),
        "expert_intermediate": keys.size(*EXPERT_WIDTH),
        "dense_layers": layers - sparse_layers(keys, layers, traits.first_dense),
    }


def sparse_layers(keys: Keys, layers: int, leading: int = 0) -> int:
    """Layers with experts: all but those named dense, the leading ones, those listed, those between or beside steps."""
    kinds = keys.words("mlp_layer_types")
    if kinds is not None and len(kinds) == layers:
        sparse = layers - kinds.count("dense")
    else:
        leading = leading or keys.size("first_k_dense_replace", default=0, smallest=0)
        step = keys.size("decoder_sparse_step", "moe_layer_interval", default=1)
        start = keys.size("moe_layer_start_index", default=0, smallest=0)
        end = keys.size("moe_layer_end_index", default=-1, smallest=-1)
        listed = keys.numbers("mlp_only_layers")
        last = layers - 1 if end == -1 else end
        sparse = sum(
            max(leading, start) <= index <= last and index not in listed and (index + 1) % step == 0
            for index in range(layers)
        )
    if not sparse:
        raise keys.refuse("first_k_dense_replace", "leaves no layer with experts")
    return sparse


def _sliding(keys: Keys, traits: Family, layers: int) -> tuple[int, int]:
    """`(window, layers that use it)`."""
    window = keys.size("sliding_window", default=0)
    if not keys.flag("use_sliding_window", default=True):
        window = 0
    _, types = keys.get("layer_types")
    if window and isinstance(types, list) and len(types) == layers:
        return window, sum(kind == "sliding_attention" for kind in types)
    every = keys.size("sliding_window_pattern", default=traits.global_every) if traits.global_every > 1 else None
    return window, sliding_layers(layers, window, traits.global_every if every is None else every)
