"""Run in the trainer's environment: one step of our own trainer's loader and adapters on small models of many families.

python more_families.py FOLDER FAMILY...: prints one JSON object, family -> what came of a QLoRA step: `loss`, `adapted`
(last parts of the names), `untrained` (adapters that got no gradient), `packed` (layers in 4 bit), or `error`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import job as jobs
import loading
import torch
import transformers
from peft import get_peft_model

FOLDER, FAMILIES = Path(sys.argv[1]), sys.argv[2:]
SMALL: dict[str, Any] = {
    **{"vocab_size": 128, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
EXPERTS = {
    **{"num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "n_shared_experts": 1},
    **{"num_experts_per_tok": 2, "moe_k": 2, "top_k_experts": 2, "moe_intermediate_size": 32, "n_group": 1},
    **{"topk_group": 1, "first_k_dense_replace": 1, "shared_expert_intermediate_size": 32},
    **{"shared_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32, "intermediate_size_mlp": 64},
}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
INDEXED = {"index_n_heads": 2, "index_head_dim": 32, "index_topk": 64}
DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16}
OWN: dict[str, dict[str, Any]] = {
    "gemma4_text": {"global_head_dim": 32, "hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": 128}
    | {"layer_types": ["sliding_attention", "full_attention"]},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_expand": 2, "mamba_d_head": 16, "mamba_d_state": 16}
    | {"mamba_n_groups": 1, "layer_types": ["linear_attention", "full_attention"]},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16, "chunk_size": 16}
    | {"layers_block_type": ["linear_attention", "moe", "full_attention", "moe"]},
}


def keys(family: str) -> dict[str, Any]:
    """A configuration that the class takes: sizes, and of the rest what it has a field for."""
    fields = transformers.CONFIG_MAPPING[family].__dataclass_fields__
    found = {
        **SMALL,
        **{name: value for name, value in {**EXPERTS, **LATENT, **INDEXED, **DELTA}.items() if name in fields},
    }
    if "kv_lora_rank" in fields:
        found["num_key_value_heads"] = 4
        del found["head_dim"]
    if family in ("cohere2", "olmoe"):
        del found["head_dim"]
    return {**found, **OWN.get(family, {})}


def step(family: str) -> dict[str, Any]:
    """Build, save, load as the trainer does, adapt, one step forward and back."""
    torch.manual_seed(0)
    folder = FOLDER / family
    config = transformers.CONFIG_MAPPING[family](**keys(family))
    transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    document = {"model": str(folder), "method": "qlora", "data": {"path": "/none"}, "sequence_length": 16}
    document |= {"checkpoint": {"folder": str(FOLDER / "ckpt")}, "output": str(FOLDER / "output")}
    (FOLDER / "job.json").write_text(json.dumps(document))
    job = jobs.read(FOLDER / "job.json")
    base = loading.load_model(job)
    model = get_peft_model(base, loading.adapter_config(job, base))
    loading.check_adapters(model)
    tokens = torch.randint(3, 100, (1, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
    loss.backward()
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {
        "loss": loss.item(),
        "adapted": sorted({name.split(".lora_")[0].rsplit(".", 1)[-1] for name, _ in trained}),
        "untrained": [name for name, parameter in trained if parameter.grad is None],
        "dropout": sum(bool(getattr(module, "attention_dropout", 0)) for module in model.modules()),
        "packed": sum(type(module).__name__ == "Linear4bit" for module in model.modules()),
    }


def outcome(family: str) -> dict[str, Any]:
    """What came of it."""
    try:
        return step(family)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


print(json.dumps({family: outcome(family) for family in FAMILIES}))
