"""Reading a config.json: every family as Hugging Face writes it, and every way the file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudtrain.errors import UsageError
from cloudtrain.models import classes, registry
from cloudtrain.models.config import read
from cloudtrain.models.counted import UncountedError
from cloudtrain.models.shape import Shape
from tests.chance import examples


def hugging_face(shape: Shape) -> dict[str, Any]:
    """A config.json as the family's own class writes it, from a shape."""
    config: dict[str, Any] = {
        "model_type": "gemma3_text" if shape.family == "gemma3" else shape.family,
        "hidden_size": shape.hidden,
        "vocab_size": shape.vocab,
        "num_attention_heads": shape.heads,
        "tie_word_embeddings": shape.tied,
        "sliding_window": shape.sliding_window or None,
        "torch_dtype": "bfloat16",
    }
    longcat = shape.family.startswith("longcat")
    config["num_layers" if longcat else "num_hidden_layers"] = shape.layers
    config["ffn_hidden_size" if longcat else "intermediate_size"] = shape.intermediate
    if not shape.traits.mla:
        config |= {"num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim}
    else:
        config |= {"q_lora_rank": shape.q_rank, "kv_lora_rank": shape.kv_rank, "v_head_dim": shape.v_head}
        config |= {"qk_nope_head_dim": shape.qk_nope, "qk_rope_head_dim": shape.qk_rope}
    if longcat:
        config |= {"n_routed_experts": shape.experts, "zero_expert_num": shape.zero_experts, "moe_topk": shape.top_k}
        config |= {"expert_ffn_hidden_size": shape.expert_intermediate}
    elif shape.experts:
        key = {"deepseek_v3": "n_routed_experts", "qwen3_moe": "num_experts"}.get(shape.family, "num_local_experts")
        config |= {key: shape.experts, "num_experts_per_tok": shape.top_k}
        if shape.family in ("deepseek_v3", "qwen3_moe"):
            config["moe_intermediate_size"] = shape.expert_intermediate
        if shape.family == "deepseek_v3":
            config |= {"n_shared_experts": shape.shared_experts, "first_k_dense_replace": shape.dense_layers}
    if shape.family == "longcat_flash_ngram":
        config |= {"ngram_vocab_size_ratio": 78, "emb_neighbor_num": 4, "emb_split_num": 4}
    if shape.family == "gpt_oss":
        config["attention_bias"] = True
    return config


def write(folder: Path, content: Any) -> Path:
    """A config.json in `folder`."""
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "config.json").write_text(text)
    return folder


@pytest.mark.parametrize("name", [spec.name for spec in registry.all_models()])
def test_a_config_of_each_registry_model_reads_back_to_the_same_shape(name: str, tmp_path: Path) -> None:
    """The reader and the registry agree on all 47 models."""
    shape = registry.find(name).shape
    assert read(write(tmp_path, hugging_face(shape))).shape == shape


def test_a_multimodal_wrapper_is_read_as_its_language_model(tmp_path: Path) -> None:
    """Gemma 3 keeps its sizes under `text_config`, and its pattern of windows under `layer_types`."""
    shape = registry.find("gemma-3-4b-text").shape
    inner = hugging_face(shape) | {"layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 6}
    inner["layer_types"] = inner["layer_types"][: shape.layers]
    spec = read(write(tmp_path, {"model_type": "gemma3", "text_config": inner, "vision_config": {}}))
    assert spec.shape == shape


def test_defaults_that_configs_leave_out_are_those_of_the_family(tmp_path: Path) -> None:
    """Missing key-value heads, head width, biases and tying take the meaning the family's class gives them."""
    base = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 8,
        "vocab_size": 9,
    }
    llama = read(write(tmp_path, base | {"model_type": "llama"})).shape
    assert (llama.kv_heads, llama.head_dim, llama.tied, llama.attention_bias) == (4, 16, False, "none")
    assert read(write(tmp_path, base | {"model_type": "gemma2"})).shape.tied
    assert read(write(tmp_path, base | {"model_type": "qwen2"})).shape.attention_bias == "qkv"
    biased = read(write(tmp_path, base | {"model_type": "llama", "attention_bias": True, "mlp_bias": True}))
    assert biased.params_total - read(write(tmp_path, base | {"model_type": "llama"})).params_total == 2 * (
        4 * 64 + 2 * 8 + 64
    )


def test_layers_without_experts_are_counted(tmp_path: Path) -> None:
    """`mlp_only_layers` and `decoder_sparse_step` of Qwen's mixtures leave dense layers."""
    config = hugging_face(registry.find("qwen3-30b-a3b").shape)
    dense = read(write(tmp_path, config | {"mlp_only_layers": [0, 5]}))
    assert dense.shape.dense_layers == 2
    assert read(write(tmp_path, config | {"decoder_sparse_step": 2})).shape.dense_layers == 24
    assert dense.params_total < registry.find("qwen3-30b-a3b").params_total


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "mamba"}, "no arithmetic for models of type `mamba`"),
        ({"model_type": None}, "`model_type` is missing"),
        ({"model_type": 7}, "`model_type` must be text"),
        ({"hidden_size": None}, "`hidden_size` is missing"),
        ({"hidden_size": "64"}, "`hidden_size` must be a whole number"),
        ({"hidden_size": True}, "`hidden_size` must be a whole number"),
        ({"hidden_size": 64.0}, "`hidden_size` must be a whole number"),
        ({"hidden_size": -1}, "`hidden_size` is -1, out of range"),
        ({"hidden_size": 10**400}, "out of range"),
        ({"num_hidden_layers": 10**8}, "more than 10000"),
        ({"num_attention_heads": 5}, "does not divide"),
        ({"tie_word_embeddings": "yes"}, "must be true or false"),
    ],
)
def test_a_wrong_key_is_named_with_its_file(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    """The refusal names the file, the key and what is wrong with it."""
    config = hugging_face(registry.find("llama-3.1-8b").shape) | {"head_dim": None} | change
    with pytest.raises(UsageError) as caught:
        read(write(tmp_path, config))
    assert words in caught.value.message
    assert str(tmp_path / "config.json") in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7", "[" * 100_000, '{"a": NaN}', "\ufeff{}", '"x"'])
def test_a_file_that_is_no_config_is_refused(content: str, tmp_path: Path) -> None:
    """Anything but a JSON object with the keys ends in a sentence."""
    with pytest.raises(UsageError):
        read(write(tmp_path, content))


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A missing file, a folder in its place, other encodings and huge files end in a sentence."""
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "nothing")
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path)
    other = tmp_path / "other.json"
    other.write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(UsageError, match="is not JSON"):
        read(other)
    other.write_bytes(b" " * (5 * 2**20))
    with pytest.raises(UsageError, match="too large"):
        read(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MODELS = ["llama-3.1-8b", "qwen3-30b-a3b", "gemma-3-1b", "gpt-oss-20b", "deepseek-v3", "longcat-flash-lite"]


@settings(max_examples=examples(150))
@given(data=st.data(), name=st.sampled_from(MODELS))
def test_no_value_of_any_key_ends_in_a_traceback(data: st.DataObject, name: str, tmp_path: Path) -> None:
    """Replacing keys by arbitrary JSON gives a model with positive counts or a UsageError."""
    config = hugging_face(registry.find(name).shape)
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(config)), JSON, min_size=1, max_size=3))
    try:
        spec = read(write(tmp_path, config | changed))
    except UsageError:
        return
    assert 0 < spec.params_active_min <= spec.params_active <= spec.params_active_max
    assert spec.params_active <= spec.params_total
    assert spec.params_lora(4, "qv") > 0


def test_keys_that_are_left_out_are_those_of_the_class(tmp_path: Path) -> None:
    """Google's gemma-3-4b-it as it is published, and a Qwen3 without the width of its heads."""
    text = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
    gemma = read(write(tmp_path, {"model_type": "gemma3", "text_config": {**text, "model_type": "gemma3_text"}}))
    assert gemma.params_total == registry.find("gemma-3-4b-text").params_total
    assert (gemma.shape.heads, gemma.shape.head_dim, gemma.published.positions) == (8, 256, 131072)
    sizes = {"hidden_size": 1024, "num_hidden_layers": 28, "intermediate_size": 3072, "num_attention_heads": 16}
    sizes |= {"num_key_value_heads": 8, "tie_word_embeddings": True}
    assert read(write(tmp_path, {"model_type": "qwen3", **sizes})).params_total == 596049920


def test_a_key_that_the_class_does_not_know_changes_nothing(tmp_path: Path) -> None:
    """Qwen2 always has biases on its queries, keys and values."""
    shape = registry.find("qwen2.5-1.5b").shape
    assert read(write(tmp_path, hugging_face(shape) | {"attention_bias": False})).shape == shape


def test_other_names_of_a_key_are_those_of_the_class(tmp_path: Path) -> None:
    """DeepSeek's class takes num_local_experts for n_routed_experts."""
    config = hugging_face(registry.find("deepseek-v3").shape)
    config["num_local_experts"] = config.pop("n_routed_experts")
    assert read(write(tmp_path, config)).shape.experts == 256


@pytest.mark.parametrize(
    ("wrapper", "outer", "inner", "tied"),
    [
        *(("gemma3", None, False, True), ("gemma3", False, True, False)),
        *(("qwen3_5", True, None, False), ("qwen3_5", False, True, True)),
    ],
)
def test_whose_word_ties_the_embeddings_of_a_wrapper(
    wrapper: str, outer: bool | None, inner: bool | None, tied: bool, tmp_path: Path
) -> None:
    """The wrapper's where it is loaded whole, the language model's own where that is taken out of it."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "head_dim": 16, "vocab_size": 100}
    text = {**sizes, "model_type": f"{wrapper}_text", **({} if inner is None else {"tie_word_embeddings": inner})}
    document = {"model_type": wrapper, "text_config": text}
    document |= {} if outer is None else {"tie_word_embeddings": outer}
    assert read(write(tmp_path, document)).shape.tied is tied


def test_a_type_that_is_counted_elsewhere_says_so(tmp_path: Path) -> None:
    """What transformers has a class for can be counted; what it has none for cannot be loaded either."""
    with pytest.raises(UncountedError) as caught:
        read(write(tmp_path, {"model_type": "falcon_h1", "hidden_size": 64}))
    assert caught.value.model_type == "falcon_h1"
    with pytest.raises(UsageError) as other:
        read(write(tmp_path, {"model_type": "RefinedWebModel", "hidden_size": 64}))
    assert not isinstance(other.value, UncountedError)
    assert "cannot load them" in other.value.hint


HYBRIDS = {
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "gemma4_text": {"layer_types": ["sliding_attention", "full_attention"]},
    "nemotron_h": {"hybrid_override_pattern": "M*", "mamba_num_heads": 4, "mamba_head_dim": 16},
    "llama4_text": {"num_local_experts": 4},
}


@settings(max_examples=examples(120))
@given(data=st.data(), kind=st.sampled_from(sorted(HYBRIDS)))
def test_no_value_of_a_hybrids_key_ends_in_a_traceback(data: st.DataObject, kind: str, tmp_path: Path) -> None:
    """As above, for the types that are counted by formula."""
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16, "vocab_size": 100}
    config = {"model_type": kind, **sizes, **HYBRIDS[kind]}
    names = sorted({*config, *classes.defaults(kind)} - {"model_type"})
    changed = data.draw(st.dictionaries(st.sampled_from(names), JSON, min_size=1, max_size=3))
    try:
        spec = read(write(tmp_path, config | changed))
    except UsageError:
        return
    assert spec.shape.counted is not None
    assert 0 < spec.params_active <= spec.params_total + spec.params_embedding
