"""A dense decoder's sizes and habits, from the `config.json` of a Hugging Face checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import longcat
import rotation
from failures import BadJob
from families import FAMILIES, FULL
from longcat import LongCat
from rotation import Rotation


@dataclass(frozen=True)
class Decoder:
    """Everything the forward pass needs to know. Per-layer habits are tuples as long as the stack."""

    family: str
    vocab: int
    hidden: int
    wide: int  # of the feed-forward part
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float = 1e-6
    activation: str = "silu"  # or "gelu", approximated by a tanh
    tied: bool = False  # the head is the embedding
    rotations: tuple[Rotation | None, ...] = ()  # None: this layer does not turn
    interleaved: bool = False  # neighbours are turned together, not the halves of a head
    windows: tuple[int, ...] = ()
    fused: tuple[str, ...] = ()  # "qkv", "gate_up": matrices that are published as one
    biases: tuple[str, ...] = ()  # of these matrices
    qk_norm: str = ""  # "", "head", "whole" (all heads at once), "turned" (of each head, after the rotation)
    norms: str = "pre"  # "pre", "post", "both", "shared" (one for attention and feed-forward, which add up)
    norm_kind: str = "cast"  # "cast" before the weight, "wide" (weight in float32), "plus_one", "centred" (LayerNorm)
    norm_names: tuple[tuple[str, str], ...] = ()  # ours to the checkpoint's, where they are not the usual ones
    embed_scale: float = 1.0
    attention_scale: float = 0.0  # 0 = head_dim ** -0.5
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    stem: str = "model"  # where the layers are in the model that PEFT sees
    stems: tuple[str, ...] = ("model",)  # and what the tensors of its checkpoints may begin with

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        apart = {"q": (self.hidden, query), "k": (self.hidden, key), "v": (self.hidden, key)}
        attention = {"qkv": (self.hidden, query + 2 * key)} if "qkv" in self.fused else apart
        both = {"gate": (self.hidden, self.wide), "up": (self.hidden, self.wide)}
        feed = {"gate_up": (self.hidden, 2 * self.wide)} if "gate_up" in self.fused else both
        return {**attention, "o": (query, self.hidden), **feed, "down": (self.wide, self.hidden)}

    @property
    def modules(self) -> dict[str, tuple[str, ...]]:
        """The checkpoint's names of a layer's matrices: one of each name."""
        return {name: (MODULES[name],) for name in self.matrices}

    @property
    def strangers(self) -> tuple[str, ...]:
        """Linear layers that never get an adapter, though PEFT could."""
        return ()

    @property
    def vectors(self) -> dict[str, tuple[str, int]]:
        """The checkpoint's names of a layer's vectors, and their sizes."""
        found = {f"{name}_bias": (f"{MODULES[name]}.bias", self.matrices[name][1]) for name in self.biases}
        usual = NORMS[self.norms] | dict(self.norm_names)
        found |= {ours: (f"{usual[ours]}.weight", self.hidden) for ours in NORMS[self.norms]}
        if self.qk_norm:
            for ours, heads in (("q_norm", self.heads), ("k_norm", self.kv_heads)):
                name = dict(self.norm_names).get(ours, f"self_attn.{ours}")
                size = self.head_dim * (heads if self.qk_norm == "whole" else 1)
                found[ours] = (f"{name}.weight", size)
        return found


MODULES = {
    **{name: f"self_attn.{name}_proj" for name in ("q", "k", "v", "o", "qkv")},
    **{name: f"mlp.{name}_proj" for name in ("gate", "up", "gate_up", "down")},
}
NORMS = {
    "pre": {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
    "post": {"after_attention_norm": "post_attention_layernorm", "after_mlp_norm": "post_feedforward_layernorm"},
    "both": {
        "attention_norm": "input_layernorm",
        "after_attention_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "after_mlp_norm": "post_feedforward_layernorm",
    },
    "shared": {"attention_norm": "input_layernorm"},
}
ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu", "gelu_new": "gelu"}


def read(folder: Path) -> Decoder | LongCat:
    """The decoder of a model's folder. Raises BadJob for a model that the trainer does not know."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadJob(f"cannot read {folder / 'config.json'}: {error}") from None
    return from_config(config)


def from_config(config: Mapping[str, Any]) -> Decoder | LongCat:
    """The decoder that a configuration describes, whether written by transformers 4 or 5: dense, or LongCat's.

    Raises BadJob for a family, an activation, a rotation or published 4- and 8-bit weights that the trainer lacks.
    """
    family = config.get("model_type", "")
    if family.startswith("longcat"):
        return longcat.from_config(config)
    if family not in FAMILIES:
        near = get_close_matches(family, FAMILIES, n=1)
        known = f"the nearest it knows is {near[0]}" if near else f"it knows {', '.join(sorted(FAMILIES))}"
        raise BadJob(f"the TPU trainer has no model for the family `{family}`; {known}")
    if config.get("quantization_config"):
        kind = config["quantization_config"].get("quant_method", "some format")
        raise BadJob(f"the model is published in {kind}: the TPU trainer reads weights of 16 or 32 bits")
    try:
        return _decoder(family, config)
    except KeyError as error:
        raise BadJob(f"the model's config.json has no {error}, which a {family} needs") from None


def _decoder(family: str, config: Mapping[str, Any]) -> Decoder:
    config, habits = FAMILIES[family](config)
    layers, hidden, heads = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
    head_dim = habits.get("head_dim") or config.get("head_dim") or hidden // heads
    named = config.get("hidden_activation") or config.get("hidden_act") or "silu"
    if "activation" not in habits and named not in ACTIVATIONS:
        raise BadJob(f"the model's activation is `{named}`, which the TPU trainer does not know")
    decoder = {
        "family": family,
        **{"vocab": config["vocab_size"], "hidden": hidden, "wide": config["intermediate_size"], "layers": layers},
        **{"heads": heads, "kv_heads": config.get("num_key_value_heads") or heads, "head_dim": head_dim},
        "eps": config.get("rms_norm_eps", config.get("layer_norm_eps", 1e-6)),
        "activation": ACTIVATIONS.get(named, "silu"),
        "tied": config.get("tie_word_embeddings", False),
        "windows": (FULL,) * layers,
        **habits,
    }
    turned = decoder.pop("turned", None)  # kinds of the layers, where they turn differently; None: not at all
    usual = decoder.pop("theta", 1e4)
    if turned is None:
        decoder["rotations"] = (rotation.from_config(config, head_dim, theta=usual),) * layers
    else:
        by_kind = {kind: rotation.from_config(config, head_dim, kind, usual) if kind else None for kind in set(turned)}
        by_kind |= decoder.pop("special", {})
        decoder["rotations"] = tuple(by_kind[kind] for kind in turned)
    return Decoder(**decoder)
