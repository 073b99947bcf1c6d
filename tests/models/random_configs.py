"""Small random config.json contents of every type that has arithmetic here; the same ones in every run."""

from __future__ import annotations

import random
from typing import Any

from cloudtrain.models import classes

WIDTHS = (
    *("moe_intermediate_size", "expert_ffn_hidden_size", "shared_expert_intermediate_size", "shared_intermediate_size"),
    *("moe_shared_expert_intermediate_size", "intermediate_size_mlp", "ffn_hidden_size"),
)
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
PICKS = ("num_experts_per_tok", "moe_k", "moe_topk")
NOT_SWITCHED = ("use_bidirectional_attention", "moe_shared_expert_overlap")
GIVEN = ("model_type", "hidden_size", "num_hidden_layers", "num_layers", "num_attention_heads", "num_key_value_heads")
SIZED = ("head_dim", "qk_rope_head_dim", "zero_expert_num", "mamba_n_heads", "mamba_expand", "mamba_d_head")
ALWAYS_GIVEN = frozenset((*GIVEN, *SIZED, *EXPERTS, *PICKS))


def configs(kinds: list[str], each: int, seed: int = 13) -> list[dict[str, Any]]:
    """`each` contents of every kind."""
    dice = random.Random(seed)
    return [one(kind, dice) for kind in kinds for _ in range(each)]


def one(kind: str, dice: random.Random) -> dict[str, Any]:
    """A plausible configuration: sizes drawn, switches thrown now and then, a key left out now and then."""
    known = classes.defaults(kind)
    heads, layers = dice.choice([4, 8, 16]), dice.choice([4, 6, 8])
    keys: dict[str, Any] = {
        "model_type": kind,
        "hidden_size": 128 * dice.randint(2, 8),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": dice.choice([heads, heads // 2, heads // 4]),
        "head_dim": dice.choice([32, 64, 128]),
        "intermediate_size": 64 * dice.randint(4, 30),
        "vocab_size": dice.randint(1000, 9000),
        "tie_word_embeddings": dice.random() < 0.5,
        "pad_token_id": 0,
    }
    for name, value in known.items():
        if isinstance(value, bool) and name not in keys and name not in NOT_SWITCHED and dice.random() < 0.4:
            keys[name] = not value
    keys |= {name: dice.choice([4, 8]) for name in EXPERTS if name in known}
    keys |= {name: dice.choice([1, 2, 4]) for name in PICKS if name in known}
    keys |= {name: 32 * dice.randint(2, 12) for name in WIDTHS if name in known}
    keys |= {name: dice.choice([1, 2]) for name in ("n_shared_experts", "moe_num_shared_experts") if name in known}
    if "first_k_dense_replace" in known:
        keys["first_k_dense_replace"] = dice.choice([0, 1, 2])
    if "kv_lora_rank" in known:
        keys |= latent(kind, heads, dice)
    if "linear_num_key_heads" in known:
        keys |= {"linear_num_key_heads": 4, "linear_num_value_heads": dice.choice([4, 8]), "linear_key_head_dim": 32}
        keys |= {"linear_value_head_dim": dice.choice([32, 64]), "full_attention_interval": dice.choice([2, 4])}
    keys |= of_its_own(kind, keys, layers, dice)
    if kind in ("cohere2", "olmoe", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite", "longcat_flash"):
        del keys["head_dim"]  # these take it from other sizes
    if kind == "longcat_flash":  # it has names of its own, and takes these for twice as many blocks
        del keys["num_hidden_layers"], keys["intermediate_size"]
    left_out = [name for name in keys if name in known and name not in ALWAYS_GIVEN and dice.random() < 0.08]
    return {name: value for name, value in keys.items() if name not in left_out}


def latent(kind: str, heads: int, dice: random.Random) -> dict[str, Any]:
    """Multi-head latent attention."""
    without_rank = kind in ("deepseek_v3", "glm4_moe_lite") and dice.random() < 0.5
    return {
        **{"kv_lora_rank": 64, "q_lora_rank": None if without_rank else 96, "num_key_value_heads": heads},
        **{"qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": dice.choice([32, 64])},
    }


def of_its_own(kind: str, keys: dict[str, Any], layers: int, dice: random.Random) -> dict[str, Any]:
    """What only this kind has."""
    hidden = keys["hidden_size"]
    own: dict[str, dict[str, Any]] = {
        "deepseek_v32": {"index_n_heads": 4, "index_head_dim": 64},
        "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1}
        | {"moe_intermediate_size": 96, "first_k_dense_replace": 1, "topk_group": 1},
        "ernie4_5_moe": {"moe_layer_start_index": dice.choice([0, 1]), "moe_layer_interval": dice.choice([1, 2])}
        | {"moe_layer_end_index": dice.choice([-1, layers - 2])},
        "gemma4_text": {"num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 96, "global_head_dim": 64}
        | {"num_global_key_value_heads": dice.choice([None, 2]), "hidden_size_per_layer_input": dice.choice([0, 32])}
        | {"vocab_size_per_layer_input": 900, "num_kv_shared_layers": dice.choice([0, 2])}
        | {"layer_types": ["sliding_attention", "full_attention"] * (layers // 2)},
        "glm_moe_dsa": {"index_n_heads": 4, "index_head_dim": 64, "index_topk_freq": dice.choice([1, 2])},
        "granitemoehybrid": {"mamba_n_heads": 8, "mamba_expand": 2, "mamba_d_head": hidden // 4, "mamba_d_state": 32}
        | {"num_local_experts": 4 * dice.randint(0, 1), "num_experts_per_tok": 2}
        | {"layer_types": [dice.choice(["mamba", "attention"]) for _ in range(layers)]},
        "llama4_text": {"interleave_moe_layer_step": dice.choice([1, 2])},
        "longcat_flash": {"num_layers": layers, "zero_expert_num": 0},
        "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 32, "n_groups": 2, "ssm_state_size": 16}
        | {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_latent_size": dice.choice([None, 64])}
        | {"hybrid_override_pattern": "".join(dice.choice("M*-E") for _ in range(layers - 1)) + "E"},
    }
    sparse = {"mlp_only_layers": dice.choice([[], [0], [1, 3]]), "decoder_sparse_step": dice.choice([1, 1, 2])}
    if kind in ("qwen2_moe", "qwen3_moe"):
        return {**sparse, "mlp_only_layers": sparse["mlp_only_layers"] if sparse["decoder_sparse_step"] == 1 else []}
    return own.get(kind, {})
