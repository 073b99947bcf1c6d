"""LongCat-Flash as its config.json describes it: sizes, the names of its layers, and what of it is not known here.

A layer has two multi-head latent attentions (MLA) and two dense MLPs, one after the other, and one mixture of experts
beside the second half, whose result arrives at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from failures import BadJob

FAMILY = "longcat_flash"
HALVES = 2  # attentions, and dense MLPs, of a layer
CLASS = "LongcatFlashForCausalLM"  # others have code of their own beside the weights, which nobody can check from here
# Twice in a layer: their names in the published checkpoint, with the number of the half.
MODULES = {
    "q_a": "self_attn.{}.q_a_proj",
    "q_b": "self_attn.{}.q_b_proj",
    "kv_a": "self_attn.{}.kv_a_proj_with_mqa",
    "kv_b": "self_attn.{}.kv_b_proj",
    "o": "self_attn.{}.o_proj",
    **{name: f"mlps.{{}}.{name}_proj" for name in ("gate", "up", "down")},
}
NORMS = {
    "q_norm": "self_attn.{}.q_a_layernorm",
    "kv_norm": "self_attn.{}.kv_a_layernorm",
    "attention_norm": "input_layernorm.{}",
    "mlp_norm": "post_attention_layernorm.{}",
}
ROUTER = "mlp.router.classifier"
EXPERTS = {name: f"mlp.experts.{{}}.{name}_proj" for name in ("gate", "up", "down")}
# What a configuration may say that nothing published says; the value is the one that is built here.
ONLY = {
    "attention_method": "MLA",
    "zero_expert_type": "identity",
    "hidden_act": "silu",
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
    "attention_bias": False,
    "router_bias": False,
    "norm_topk_prob": False,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class LongCat:
    """Sizes of a model, and how picks of experts are spread over devices.

    `capacity`: the picks that a device takes from each of the others, as a multiple of an even share; what is beyond
    finds no place and is dropped. `most_dropped`: the share of a step's picks of experts above which the run fails.
    """

    vocab: int
    hidden: int
    layers: int
    heads: int
    query_rank: int
    key_rank: int
    plain: int  # width of a head's part without rotation
    turned: int  # and with it
    value: int
    wide: int
    expert_wide: int
    experts: int
    identities: int
    chosen: int
    routed_scale: float
    theta: float
    eps: float
    positions: int
    stem: str = "model"  # where the layers are, in the checkpoint and for PEFT
    stems: tuple[str, ...] = ("model",)
    capacity: float = 2.0
    most_dropped: float = 0.02

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the matrices that are there twice in a layer, by our names."""
        head = self.plain + self.turned
        return {
            "q_a": (self.hidden, self.query_rank),
            "q_b": (self.query_rank, self.heads * head),
            "kv_a": (self.hidden, self.key_rank + self.turned),
            "kv_b": (self.key_rank, self.heads * (self.plain + self.value)),
            "o": (self.heads * self.value, self.hidden),
            "gate": (self.hidden, self.wide),
            "up": (self.hidden, self.wide),
            "down": (self.wide, self.hidden),
        }

    @property
    def expert_matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of one expert's matrices."""
        outward = (self.hidden, self.expert_wide)
        return {"gate": outward, "up": outward, "down": outward[::-1]}

    @property
    def modules(self) -> dict[str, tuple[str, ...]]:
        """The checkpoint's names of a layer's matrices: two of each name."""
        return {name: tuple(module.format(half) for half in range(HALVES)) for name, module in MODULES.items()}

    @property
    def strangers(self) -> tuple[str, ...]:
        """Linear layers that never get an adapter, though PEFT could: choosing and the chosen stay as they are."""
        return ROUTER, *(module.format(0) for module in EXPERTS.values())

    @property
    def vectors(self) -> dict[str, int]:
        """Sizes of the norms that are there twice in a layer."""
        inner = {"q_norm": self.query_rank, "kv_norm": self.key_rank}
        return {**inner, "attention_norm": self.hidden, "mlp_norm": self.hidden}

    @property
    def everyone(self) -> int:
        """Experts and identities: what the router chooses from."""
        return self.experts + self.identities

    def places(self, tokens: int, devices: int) -> int:
        """Picks that a device with so many tokens may send to each of all devices (itself among them).

        One device has a place for every pick. Of several, each takes `capacity` times an even share of the picks that
        are no identities, in whole tiles of 128.
        """
        picks = tokens * self.chosen
        if devices == 1:
            return picks
        even = picks * self.experts / self.everyone / devices
        return min(-(-int(self.capacity * even) // 128) * 128, picks)


def from_config(config: Mapping[str, Any]) -> LongCat:
    """The sizes in a configuration. Raises BadJob when it describes what is not built here."""
    _refuse_others(config)
    try:
        return LongCat(
            vocab=config["vocab_size"],
            hidden=config["hidden_size"],
            layers=config["num_layers"],
            heads=config["num_attention_heads"],
            query_rank=config["q_lora_rank"],
            key_rank=config["kv_lora_rank"],
            plain=config["qk_nope_head_dim"],
            turned=config["qk_rope_head_dim"],
            value=config["v_head_dim"],
            wide=config["ffn_hidden_size"],
            expert_wide=config["expert_ffn_hidden_size"],
            experts=config["n_routed_experts"],
            identities=config.get("zero_expert_num") or 0,
            chosen=config["moe_topk"],
            routed_scale=float(config["routed_scaling_factor"]),
            theta=float(_rope(config).get("rope_theta", config.get("rope_theta", 1e7))),
            eps=float(config.get("rms_norm_eps", 1e-5)),
            positions=config["max_position_embeddings"],
        )
    except KeyError as error:
        raise BadJob(f"config.json says {FAMILY}, but has no {error}") from None


def _refuse_others(config: Mapping[str, Any]) -> None:
    family = config.get("model_type")
    if family == "longcat_flash_ngram":
        raise BadJob(
            "the TPU trainer has no longcat_flash_ngram (LongCat-Flash-Lite): of its n-gram table there are two "
            "published programs that differ where a text ends, and none that it could be tested against"
        )
    if family != FAMILY:
        raise BadJob(f"config.json says {family}, not {FAMILY}")
    for name in config.get("architectures") or [CLASS]:
        if name != CLASS:
            raise BadJob(f"the model's class is {name}, which has code of its own: the TPU trainer knows {CLASS}")
    if config.get("quantization_config"):
        raise BadJob("these weights are published quantised: take the model's repository with bf16 weights")
    for key, known in ONLY.items():
        found = config.get(key)
        if found is not None and found != known:
            raise BadJob(f"config.json has {key} {json.dumps(found)}; the TPU trainer knows {json.dumps(known)} alone")
    if config.get("q_lora_rank", 0) is None:
        raise BadJob("config.json has q_lora_rank null; the TPU trainer knows queries of a low rank alone")
    kind = _rope(config).get("rope_type", _rope(config).get("type", "default"))
    if kind != "default":
        raise BadJob(f"config.json has positions of the kind {kind}; of {FAMILY} the TPU trainer knows default alone")


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the configuration says of positions, as transformers 4 and 5 call it."""
    return config.get("rope_scaling") or config.get("rope_parameters") or {}
