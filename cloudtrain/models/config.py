"""A Hugging Face `config.json` read into a ModelSpec, with a message for everything that can be wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError
from cloudtrain.files import read_beginning
from cloudtrain.models.families import FAMILIES, MODEL_TYPES, Family, sliding_layers
from cloudtrain.models.ngram import ngram_parameters
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec

MAX_CONFIG_BYTES = 4 * 2**20  # real ones are a few kilobytes; anything larger is some other file
MAX_SIZE = 10**9  # no size in a config is larger; keeps the arithmetic and its printing sane
MAX_LAYERS = 10_000


class _Keys:
    """The document's keys, read one by one; every refusal names the file and the key."""

    def __init__(self, path: Path, document: dict[str, Any]) -> None:
        self.path = path
        self.document = document

    def refuse(self, key: str, what: str) -> UsageError:
        return UsageError(f"`{self.path}`: `{key}` {what}", "take the config.json that belongs to the model's weights")

    def size(self, *names: str, default: int | None = None, smallest: int = 1) -> int:
        """The first of `names` that is there, as a whole number from `smallest` up; `null` counts as not there."""
        for name in names:
            value = self.document.get(name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.refuse(name, f"must be a whole number, not {_short(value)}")
            if not smallest <= value <= MAX_SIZE:
                raise self.refuse(name, f"is {_short(value)}, out of range ({smallest} to {MAX_SIZE})")
            return value
        if default is None:
            raise self.refuse(names[0], "is missing")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """A true or false."""
        value = self.document.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, f"must be true or false, not {_short(value)}")
        return value


def read(path: Path) -> ModelSpec:
    """The model described by `path`, a config.json or a folder that holds one.

    Raises UsageError naming the file and the key when it is missing, unreadable, malformed or of an unknown family.
    """
    file = path / "config.json" if path.is_dir() else path
    keys = _Keys(file, _document(file))
    keys, family = _family(keys)
    shape = _shape(keys, family)
    hub_id = keys.document.get("_name_or_path")
    name = file.parent.name or str(file.parent)
    return ModelSpec(name, hub_id if isinstance(hub_id, str) else "", shape, str(file.parent))


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**15 else "a number of over fifteen digits"
    return text if len(text) <= 40 else text[:37] + "..."


def _document(file: Path) -> dict[str, Any]:
    try:
        raw = read_beginning(file, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read `{file}`: {reason}", "name a folder that holds a model's config.json") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise UsageError(f"`{file}` is too large to be a config.json", "name a folder that holds a model's config.json")
    try:
        document = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
        raise UsageError(f"`{file}` is not JSON: {error}", "download the file again") from error
    if not isinstance(document, dict):
        raise UsageError(f"`{file}` holds no JSON object", "take the config.json that belongs to the model's weights")
    return document


def _family(keys: _Keys) -> tuple[_Keys, str]:
    """The family, and the keys of the language model (a multimodal wrapper keeps them one level down)."""
    known = ", ".join(FAMILIES)
    model_type = keys.document.get("model_type")
    if model_type is None:
        raise keys.refuse("model_type", "is missing")
    if not isinstance(model_type, str):
        raise keys.refuse("model_type", f"must be text, not {_short(model_type)}")
    text_config = keys.document.get("text_config")
    if isinstance(text_config, dict) and "hidden_size" not in keys.document:
        inner = text_config.get("model_type", f"{model_type}_text")
        keys, model_type = _Keys(keys.path, text_config), inner if isinstance(inner, str) else model_type
    family = MODEL_TYPES.get(model_type)
    if family is None:
        raise UsageError(
            f"`{keys.path}`: no arithmetic for models of type `{_short(model_type)[1:-1]}`",
            f"known types: {known}; a new one needs a row in cloudtrain/models/families.py",
        )
    return keys, family


def _shape(keys: _Keys, family: str) -> Shape:
    traits = FAMILIES[family]
    layers = keys.size("num_hidden_layers", "num_layers")
    if layers > MAX_LAYERS:
        raise keys.refuse("num_hidden_layers", f"is {layers}, more than {MAX_LAYERS}")
    hidden = keys.size("hidden_size")
    heads = keys.size("num_attention_heads")
    kv_heads = heads if traits.mla else keys.size("num_key_value_heads", default=heads)
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
        kv_heads=kv_heads,
        head_dim=_head_dim(keys, traits, hidden, heads),
        intermediate=keys.size("intermediate_size", "ffn_hidden_size"),
        vocab=vocab,
        tied=keys.flag("tie_word_embeddings", traits.tied_by_default),
        attention_bias=_attention_bias(keys, traits),
        mlp_bias=keys.flag("mlp_bias", default=False) and not traits.fused,
        sliding_window=window,
        sliding_layers=sliding,
        ngram_tables=tables,
        ngram_projections=projections,
        **(_experts(keys, traits, layers) if traits.moe else {}),
        **(_mla(keys) if traits.mla else {}),
    )


def _head_dim(keys: _Keys, traits: Family, hidden: int, heads: int) -> int:
    if traits.mla:
        return keys.size("qk_nope_head_dim") + keys.size("qk_rope_head_dim")
    given = keys.size("head_dim", default=0)
    if given:
        return given
    if hidden % heads:
        raise keys.refuse("num_attention_heads", f"is {heads}, which does not divide hidden_size {hidden}")
    return hidden // heads


def _attention_bias(keys: _Keys, traits: Family) -> str:
    default = traits.attention_bias != "none"
    if not keys.flag("attention_bias", default):
        return "none"
    return traits.attention_bias if default else "qkvo"


def _mla(keys: _Keys) -> dict[str, int]:
    return {
        "q_rank": keys.size("q_lora_rank", default=0),
        "kv_rank": keys.size("kv_lora_rank"),
        "qk_nope": keys.size("qk_nope_head_dim"),
        "qk_rope": keys.size("qk_rope_head_dim"),
        "v_head": keys.size("v_head_dim"),
    }


def _experts(keys: _Keys, traits: Family, layers: int) -> dict[str, int]:
    experts = keys.size("num_experts", "num_local_experts", "n_routed_experts")
    zero = keys.size("zero_expert_num", default=0, smallest=0)
    top_k = keys.size("num_experts_per_tok", "moe_topk")
    if top_k > experts + zero:
        raise keys.refuse("num_experts_per_tok", f"is {top_k}, more than the {experts + zero} experts")
    return {
        "experts": experts,
        "top_k": top_k,
        "zero_experts": zero,
        "shared_experts": keys.size("n_shared_experts", default=0, smallest=0) if traits.mla else 0,
        "expert_intermediate": keys.size("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size"),
        "dense_layers": _dense_layers(keys, layers),
    }


def _dense_layers(keys: _Keys, layers: int) -> int:
    """Layers without experts: the first ones (DeepSeek), those listed, and those between sparse steps (Qwen)."""
    leading = keys.size("first_k_dense_replace", default=0, smallest=0)
    step = keys.size("decoder_sparse_step", default=1)
    listed = keys.document.get("mlp_only_layers") or []
    if not isinstance(listed, list) or not all(isinstance(index, int) for index in listed):
        raise keys.refuse("mlp_only_layers", f"must be a list of whole numbers, not {_short(listed)}")
    dense = [index for index in range(layers) if index < leading or index in listed or (index + 1) % step]
    if len(dense) == layers:
        raise keys.refuse("first_k_dense_replace", "leaves no layer with experts")
    return len(dense)


def _sliding(keys: _Keys, traits: Family, layers: int) -> tuple[int, int]:
    """`(window, layers that use it)`."""
    window = keys.size("sliding_window", default=0)
    if not keys.flag("use_sliding_window", default=True):
        window = 0
    types = keys.document.get("layer_types")
    if window and isinstance(types, list) and len(types) == layers:
        return window, sum(kind == "sliding_attention" for kind in types)
    return window, sliding_layers(layers, window, traits.global_every)
