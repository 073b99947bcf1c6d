"""Counts the parameters of models by building them without memory: `python count_parameters.py < document.json`.

The document holds `configs`, the contents of config.json files; the answer is one JSON list on standard output with an
object for each: `counted` (parameters by kind, see cloudtrain/models/counted.py), `sizes` (of a plain decoder that is
as large), `positions`, `towers` (parameters that read pictures or sound), or `unsupported` with a sentence.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"})
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import torch  # noqa: E402
import transformers  # noqa: E402
from torch import nn  # noqa: E402
from transformers import initialization  # noqa: E402
from transformers.pytorch_utils import Conv1D  # noqa: E402

# As the trainer's `loading.py` names them.
QUERY_AND_VALUE = {
    *("q_proj", "v_proj", "q_lin", "v_lin", "query", "value"),
    *("qkv_proj", "qkv", "query_key_value", "c_attn", "Wqkv", "W_pack"),
    *("q_b_proj", "kv_b_proj"),
}
ROUTERS = {"router", "gate", "classifier", "shared_expert_gate", "wg"}
ATTENTION = ("attn", "attention")
PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}  # of attention, also where a layer is called otherwise
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
PICKS = ("num_experts_per_tok", "moe_topk", "moe_k", "top_k_experts", "num_experts_per_token")


def main() -> None:
    """Read the document, count, print."""
    print(json.dumps([count(keys) for keys in json.load(sys.stdin)["configs"]]))


def count(keys: dict[str, Any]) -> dict[str, Any]:
    """The answer for one configuration."""
    kind = str(keys.get("model_type", ""))
    if kind not in transformers.CONFIG_MAPPING:
        return {"unsupported": f"transformers {transformers.__version__} has no class for `{kind[:40]}`"}
    try:
        config = transformers.CONFIG_MAPPING[kind].from_dict({**keys, "quantization_config": None})
        with torch.device("meta"), initialization.no_init_weights():
            model = transformers.AutoModelForCausalLM.from_config(config)
        model.tie_weights()
    except Exception as error:  # its checks raise many kinds; each says what is wrong
        sentence = " ".join(str(error).split())[:300]
        return {
            "unsupported": f"transformers {transformers.__version__} refuses it: {type(error).__name__}: {sentence}"
        }
    return describe(model)


def describe(model: Any) -> dict[str, Any]:
    """What a model without memory holds."""
    text = model.config.get_text_config(decoder=True)
    text.allow_global_per_layer_attribute_access = True  # sizes that differ by layer (Gemma 4): the usual one will do
    decoder, head = language_model(model), model.get_output_embeddings()
    table = model.get_input_embeddings()
    inside = {id(it): it.numel() for part in (decoder, head, table) if part is not None for it in part.parameters()}
    looked_up = {
        id(module.weight): module.weight.numel() for module in decoder.modules() if isinstance(module, nn.Embedding)
    }
    if table is not None:
        looked_up.setdefault(id(table.weight), table.weight.numel())
    headed = 0 if head is None else head.weight.numel()
    tied = head is not None and id(head.weight) in looked_up
    mixture = [(name, it) for name, it in decoder.named_parameters() if is_expert(name)]
    experts = sum(it.numel() for _, it in mixture)
    of_them, picks = first(text, EXPERTS), first(text, PICKS)
    layers = {id(module.weight): (name, module) for name, module in linear_layers(decoder) if module is not head}
    linears = list(layers.values())  # once where several layers share one
    routers = sum(module.weight.numel() for name, module in linears if name.rsplit(".", 1)[-1] in ROUTERS)
    dense = [(name, module) for name, module in linears if name.rsplit(".", 1)[-1] not in ROUTERS]
    total = sum(inside.values())
    used = experts if not of_them else round(experts * min(picks, of_them) / of_them)
    return {
        "counted": {
            "total": total,
            "embedding": sum(looked_up.values()) + (0 if tied else headed),
            "linear": sum(module.weight.numel() for _, module in dense),
            "experts": experts,
            "router": routers,
            "active": total - sum(looked_up.values()) + (headed if tied else 0) - experts + used,
            "largest": max(it.numel() for it in [*decoder.parameters(), *([head.weight] if head is not None else [])]),
            "adapted": [adapted(dense, targets) for targets in ("qv", "attention", "all-linear")],
            "how": f"counted by transformers {transformers.__version__} on its meta device",
        },
        "sizes": sizes(text, mixture, tied, 0 if table is None else table.weight.shape[0]),
        "positions": first(text, ("max_position_embeddings", "n_positions", "max_seq_len")),
        "towers": sum({id(it): it.numel() for it in model.parameters()}.values()) - total,
    }


def language_model(model: Any) -> Any:
    """The part that reads and writes text: of a model with towers its decoder, else all of it but the head."""
    decoder = model.get_decoder()
    return model.base_model if decoder is None or decoder is model else decoder


def is_expert(name: str) -> bool:
    """Whether a parameter belongs to the routed experts of a mixture."""
    return "experts" in name.split(".")


def linear_layers(module: Any) -> Iterator[tuple[str, Any]]:
    """Names and modules of all linear layers outside the experts."""
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | Conv1D) and not is_expert(name):
            yield name, child


def adapted(linears: list[tuple[str, Any]], targets: str) -> int:
    """Inputs + outputs of the layers that get an adapter."""
    total = 0
    for name, module in linears:
        *parents, last = name.split(".")
        if "indexer" in parents:
            continue
        mixes = last in PROJECTIONS or any(word in part.lower() for part in parents for word in ATTENTION)
        if targets == "all-linear" or (mixes and (targets == "attention" or last in QUERY_AND_VALUE)):
            total += sum(module.weight.shape)
    return total


def first(config: Any, names: tuple[str, ...]) -> int:
    """The first of these fields that is a whole number, or the largest of a list of them; 0 without."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, list | tuple) and value and all(isinstance(one, int) for one in value):
            return int(max(value))
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0


def sizes(text: Any, mixture: list[tuple[str, Any]], tied: bool, rows: int) -> dict[str, int]:
    """The sizes of a plain decoder that stands for this one where activations are estimated."""
    hidden = first(text, ("hidden_size", "n_embd", "d_model", "dim")) or 1
    layers = first(text, ("num_hidden_layers", "n_layer", "num_layers")) or 1
    heads = first(text, ("num_attention_heads", "n_head")) or 1
    found = {
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "kv_heads": first(text, ("num_key_value_heads",)) or heads,
        "head_dim": first(text, ("head_dim",)) or max(hidden // heads, 1),
        "intermediate": first(text, ("intermediate_size", "n_inner", "ffn_hidden_size")) or 4 * hidden,
        "vocab": rows or first(text, ("vocab_size",)) or 1,
        "tied": int(tied),
    }
    experts = first(text, EXPERTS)
    if mixture and experts:
        depth = len({name.split(".experts")[0] for name, _ in mixture})
        width = sum(it.numel() for _, it in mixture) // (3 * hidden * experts * depth)
        found |= {"experts": experts, "top_k": min(first(text, PICKS) or 1, experts)}
        found |= {"expert_intermediate": max(width, 1), "dense_layers": max(layers - depth, 0)}
    return found


if __name__ == "__main__":
    main()
