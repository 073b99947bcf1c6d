"""Parameters of architectures whose layers differ from each other, by formula: counted, not estimated part by part.

Gated delta nets beside attention (Qwen3-Next, Qwen3.5), two kinds of attention (Gemma 4), an indexer beside MLA
(DeepSeek-V3.2, GLM-5), Mamba layers (Nemotron-H, Granite 4), a shared expert as wide as the dense MLP (Llama 4).
Source: transformers 5.23.0 modeling files (2026-11); a test compares random sizes with what it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudtrain.models import decoder
from cloudtrain.models.keys import MAX_LAYERS, Keys, short
from cloudtrain.models.shape import Shape
from cloudtrain.models.tally import MLP, NONE, QV, Mamba, Tally


def shape(keys: Keys, kind: str) -> Shape:
    """The model's shape with its parameters counted. Raises UsageError naming the key that is wrong or missing."""
    layers, hidden, heads = _depth(keys, kind), keys.size("hidden_size"), keys.size("num_attention_heads")
    tally = Tally()
    extra = KINDS[kind](kind, keys, tally, layers)
    vocab = keys.size("vocab_size")
    tied = keys.flag("tie_word_embeddings") and kind != "nemotron_h"  # whose head transformers never ties
    plain = Shape(
        family=kind,
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=keys.size("num_key_value_heads", default=heads),
        head_dim=decoder.head_dim(keys, hidden, heads),
        intermediate=keys.size("intermediate_size"),
        vocab=vocab,
        tied=tied,
    )
    return plain._replace(counted=tally.finish(vocab, hidden, tied=tied), **extra)


def _depth(keys: Keys, kind: str) -> int:
    """How many layers: Nemotron's own list of them is what counts."""
    return len(_nemotron_kinds(keys)) if kind == "nemotron_h" else keys.layers()


def _with_experts(keys: Keys, width: int, dense_layers: int) -> dict[str, Any]:
    """The part of the Shape that says there are experts."""
    return {
        "experts": keys.size(*decoder.EXPERTS),
        "top_k": keys.size(*decoder.PICKS, "top_k_experts"),
        "expert_intermediate": width,
        "dense_layers": dense_layers,
    }


def _kinds_of_layers(keys: Keys, layers: int, first: str, every: int) -> list[str]:
    """The kind of each layer: as listed, else one `full_attention` in `every` layers of kind `first`."""
    found = keys.words("layer_types", length=layers)
    return found or [first if (index + 1) % every else "full_attention" for index in range(layers)]


def _gated_delta(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """Qwen3-Next and Qwen3.5: delta nets with a short convolution, and attention whose output is gated."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    width = decoder.head_dim(keys, hidden, heads)
    kinds = _kinds_of_layers(keys, layers, "linear_attention", keys.size("full_attention_interval", default=4))
    full = kinds.count("full_attention")
    linear = layers - full
    key_width = keys.size("num_key_value_heads", default=heads) * width
    tally.attention(hidden, heads * width, key_width, key_width, full, gated=True)
    bias = (2 * heads * width + 2 * key_width + hidden) if keys.flag("attention_bias") else 0
    tally.other += (2 * width + bias) * full + 2 * hidden * layers
    keys_wide = keys.size("linear_num_key_heads") * keys.size("linear_key_head_dim")
    value_heads, value_head = keys.size("linear_num_value_heads"), keys.size("linear_value_head_dim")
    values_wide = value_heads * value_head
    into: tuple[int, ...] = (2 * keys_wide + values_wide, values_wide, value_heads, value_heads)
    if kind == "qwen3_next":  # two matrices where Qwen3.5 has four
        into = (2 * keys_wide + 2 * values_wide, 2 * value_heads)
    for outputs in into:
        tally.matrix(hidden, outputs, linear)
    tally.matrix(values_wide, hidden, linear)
    convolved = (2 * keys_wide + values_wide) * keys.size("linear_conv_kernel_dim")
    tally.other += (convolved + 2 * value_heads + value_head) * linear
    if keys.get(*decoder.EXPERTS)[1] is None:
        tally.mlp(hidden, keys.size("intermediate_size"), layers)
        return {}
    sparse = decoder.sparse_layers(keys, layers)
    expert = keys.size("moe_intermediate_size")
    tally.mlp(hidden, keys.size("intermediate_size", default=0), layers - sparse)
    tally.mixture(keys, hidden, expert, sparse)
    tally.mlp(hidden, keys.size("shared_expert_intermediate_size"), sparse)
    tally.other += hidden * sparse  # the shared expert's gate
    return _with_experts(keys, expert, layers - sparse)


def _gemma4(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """Gemma 4: wide heads in the global layers, values that are the keys, shared keys, embeddings for each layer."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    pattern = keys.size("sliding_window_pattern", default=6)
    kinds = _kinds_of_layers(keys, layers, "sliding_attention", pattern)
    kinds[-1] = "full_attention"
    shared_from = layers - keys.size("num_kv_shared_layers", default=0, smallest=0)
    double = 2 if keys.flag("use_double_wide_mlp") else 1
    same = keys.flag("attention_k_eq_v")
    kv_heads = keys.size("num_key_value_heads", default=heads)
    sizes = {
        "sliding_attention": (keys.size("head_dim"), kv_heads),
        "full_attention": (
            keys.size("global_head_dim", default=512),
            keys.size("num_global_key_value_heads", default=kv_heads) if same else kv_heads,
        ),
    }
    for index, attended in enumerate(kinds):
        head, key_heads = sizes.get(attended, sizes["sliding_attention"])
        own = index < shared_from
        key = head * key_heads if own else 0
        value = 0 if same and attended == "full_attention" else key
        tally.attention(hidden, heads * head, key, value)
        if keys.flag("attention_bias"):
            tally.other += heads * head + key + value + hidden
        tally.other += head * (2 if own else 1)
        tally.mlp(hidden, keys.size("intermediate_size") * (1 if own else double))
    tally.other += 4 * hidden * layers
    per_layer = keys.size("hidden_size_per_layer_input", default=0, smallest=0)
    if per_layer:
        tally.tables = keys.size("vocab_size_per_layer_input") * layers * per_layer
        tally.matrix(hidden, per_layer, layers, MLP)
        tally.matrix(per_layer, hidden, layers, MLP)
        tally.matrix(hidden, layers * per_layer, 1, MLP)
        tally.other += hidden * layers + per_layer
    if not keys.flag("enable_moe_block"):
        return {}
    expert = keys.size("moe_intermediate_size")
    tally.mixture(keys, hidden, expert, layers)
    tally.other += (3 * hidden + hidden + keys.size(*decoder.EXPERTS)) * layers  # norms, and the router's two scales
    return _with_experts(keys, expert, 0)


def _indexed_latent(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """DeepSeek-V3.2 and GLM-5: DeepSeek-V3 with an indexer that picks the tokens attended to, in some layers or all."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    nope, rope, value = (keys.size(name) for name in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    q_rank, kv_rank = keys.size("q_lora_rank"), keys.size("kv_lora_rank")
    tally.matrix(hidden, q_rank, layers, QV)
    tally.matrix(q_rank, heads * (nope + rope), layers, QV)
    tally.matrix(hidden, kv_rank + rope, layers, QV)
    tally.matrix(kv_rank, heads * (nope + value), layers, QV)
    tally.matrix(heads * value, hidden, layers, QV)
    bias = q_rank + kv_rank + rope + hidden if keys.flag("attention_bias") else 0
    tally.other += (q_rank + kv_rank + 2 * hidden + bias) * layers
    index_heads, index_head = keys.size("index_n_heads"), keys.size("index_head_dim")
    indexed = _indexed_layers(keys, layers)
    tally.matrix(q_rank, index_heads * index_head, indexed, NONE)  # no gradient passes its choice
    tally.matrix(hidden, index_head, indexed, NONE)
    tally.matrix(hidden, index_heads, indexed, NONE)
    tally.other += 2 * index_head * indexed
    sparse = decoder.sparse_layers(keys, layers)
    expert = keys.size("moe_intermediate_size")
    tally.mlp(hidden, keys.size("intermediate_size"), layers - sparse)
    tally.mixture(keys, hidden, expert, sparse)
    tally.mlp(hidden, expert * keys.size("n_shared_experts", default=0, smallest=0), sparse)
    return _with_experts(keys, expert, layers - sparse)


def _indexed_layers(keys: Keys, layers: int) -> int:
    """Layers with an indexer of their own: all, or one in some (GLM-5's later releases)."""
    kinds = keys.words("indexer_types")
    if kinds is not None:
        return kinds.count("full")
    _, pattern = keys.get("index_topk_pattern")
    if isinstance(pattern, str):
        return pattern.count("F")
    every = keys.size("index_topk_freq", default=1)
    offset = keys.size("index_skip_topk_offset", default=2, smallest=0)
    return sum(max(index - offset + 1, 0) % every == 0 for index in range(layers))


def _llama4(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """Llama 4: experts in every layer or between dense ones, beside a shared expert of the same width."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    head = decoder.head_dim(keys, hidden, heads)
    key = keys.size("num_key_value_heads", default=heads) * head
    tally.attention(hidden, heads * head, key, key, layers)
    bias = heads * head + 2 * key + hidden if keys.flag("attention_bias") else 0
    tally.other += (2 * hidden + bias) * layers
    listed = keys.numbers("moe_layers")
    sparse = len({index for index in listed if index < layers})
    if not listed:
        sparse = layers // keys.size("interleave_moe_layer_step")
    width = keys.size("intermediate_size")
    tally.mlp(hidden, keys.size("intermediate_size_mlp"), layers - sparse)
    tally.mlp(hidden, width, sparse)
    if not sparse:
        return {}
    tally.mixture(keys, hidden, width, sparse)
    return _with_experts(keys, width, layers - sparse)


LETTERS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}  # of hybrid_override_pattern
OLD_NAMES = {"mamba": "linear_attention", "attention": "full_attention"}


def _nemotron_kinds(keys: Keys) -> list[str]:
    """What each layer is: as listed, or as spelled letter by letter."""
    kinds = keys.words("layers_block_type", "layer_types")
    _, pattern = keys.get("hybrid_override_pattern")
    if kinds is None and isinstance(pattern, str) and pattern:
        if unknown := set(pattern) - set(LETTERS):
            raise keys.refuse("hybrid_override_pattern", f"has the unknown letter {short(sorted(unknown)[0])}")
        kinds = [LETTERS[letter] for letter in pattern]
    if not kinds:
        raise keys.refuse("hybrid_override_pattern", "is missing")
    if len(kinds) > MAX_LAYERS:
        raise keys.refuse("hybrid_override_pattern", f"has {len(kinds)} layers, more than {MAX_LAYERS}")
    return [OLD_NAMES.get(name, name) for name in kinds]


def _nemotron(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """Nemotron-H and Nemotron-3: every layer is one thing, a Mamba block, attention, an MLP or a mixture of experts."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    kinds = _nemotron_kinds(keys)
    mamba, full, dense, sparse = (kinds.count(kind) for kind in ("linear_attention", "full_attention", "mlp", "moe"))
    head = decoder.head_dim(keys, hidden, heads)
    key = keys.size("num_key_value_heads", default=heads) * head
    tally.attention(hidden, heads * head, key, key, full)
    tally.other += hidden * len(kinds)
    block = Mamba(
        heads=keys.size("mamba_num_heads"),
        head=keys.size("mamba_head_dim"),
        groups=keys.size("n_groups", "mamba_n_groups"),
        state=keys.size("ssm_state_size"),
        kernel=keys.size("conv_kernel", "mamba_d_conv"),
        biased=keys.flag("use_bias"),
        conv_biased=keys.flag("use_conv_bias"),
    )
    tally.mamba(hidden, block, mamba)
    bias = keys.flag("mlp_bias")
    width = keys.size("intermediate_size")
    tally.mlp(hidden, width, dense, gated=False)
    tally.other += (width + hidden) * dense if bias else 0
    if not sparse:
        return {}
    expert, shared = keys.size("moe_intermediate_size"), keys.size("moe_shared_expert_intermediate_size")
    latent = keys.size("moe_latent_size", default=0)
    tally.mixture(keys, latent or hidden, expert, sparse, gated=False)
    tally.router += (hidden - (latent or hidden)) * keys.size(*decoder.EXPERTS) * sparse  # it sees the whole width
    tally.mlp(hidden, shared, sparse, gated=False)
    tally.matrix(hidden, latent, sparse, MLP)
    tally.matrix(latent, hidden, sparse, MLP)
    tally.other += (shared + hidden + (latent + hidden if latent else 0)) * sparse if bias else 0
    return _with_experts(keys, expert, layers - sparse) if sparse < layers else _with_experts(keys, expert, 0)


def _granite_hybrid(kind: str, keys: Keys, tally: Tally, layers: int) -> dict[str, Any]:
    """Granite 4: Mamba or attention, then experts (or none) beside a shared MLP."""
    hidden, heads = keys.size("hidden_size"), keys.size("num_attention_heads")
    kinds = keys.words("layer_types", "layers_block_type", length=layers) or ["mamba"] * layers
    full = sum(kind in ("attention", "full_attention") for kind in kinds)
    head = decoder.head_dim(keys, hidden, heads)
    key = keys.size("num_key_value_heads", default=heads) * head
    tally.attention(hidden, heads * head, key, key, full)
    tally.other += 2 * hidden * layers
    if keys.flag("attention_bias"):
        tally.other += (heads * head + 2 * key + hidden) * full
    mamba_heads = keys.size("mamba_n_heads")
    block = Mamba(
        heads=mamba_heads,
        head=keys.size("mamba_expand") * hidden // mamba_heads,
        groups=keys.size("mamba_n_groups"),
        state=keys.size("mamba_d_state"),
        kernel=keys.size("mamba_d_conv"),
        biased=keys.flag("mamba_proj_bias"),
        conv_biased=keys.flag("mamba_conv_bias"),
    )
    tally.mamba(hidden, block, layers - full)
    shared = keys.size("shared_intermediate_size")
    tally.matrix(hidden, 2 * shared, layers, MLP)
    tally.matrix(shared, hidden, layers, MLP)
    if not keys.size("num_local_experts", default=0, smallest=0):
        return {}
    width = keys.size("intermediate_size")
    tally.mixture(keys, hidden, width, layers)
    return _with_experts(keys, width, 0)


KINDS: dict[str, Callable[[str, Keys, Tally, int], dict[str, Any]]] = {
    "deepseek_v32": _indexed_latent,
    "gemma4_text": _gemma4,
    "glm_moe_dsa": _indexed_latent,
    "granitemoehybrid": _granite_hybrid,
    "llama4_text": _llama4,
    "nemotron_h": _nemotron,
    "qwen3_5_moe_text": _gated_delta,
    "qwen3_5_text": _gated_delta,
    "qwen3_next": _gated_delta,
}
