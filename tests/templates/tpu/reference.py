"""Run in the torch trainer's environment: what transformers and PEFT compute on small random models of every family.

python reference.py FOLDER FAMILY...: for each a folder with the model, `adapter/` (LoRA on all linear layers, B not zero)
and `answer.safetensors`: batch, logits, losses of five AdamW steps, gradients of the first. All in float32.
python reference.py FOLDER open FAMILY...: how far PEFT is from `parity.py` with the adapter in each one's `exported/`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

FOLDER, FAMILIES = Path(sys.argv[1]), sys.argv[2:]
STEPS, RATE = 5, 1e-3
SMALL: dict[str, Any] = {
    **{"vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
WINDOW = {"sliding_window": 8}
ALTERNATE = {
    **WINDOW,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
GEMMA: dict[str, Any] = {"head_dim": 16, "query_pre_attn_scalar": 24}
OWN: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": {**LLAMA3, "rope_theta": 1e4, "original_max_position_embeddings": 16}},
    "mistral": {"head_dim": 32, **WINDOW},
    "qwen2": {"tie_word_embeddings": True, "rope_parameters": {**YARN, "rope_theta": 1e6}},
    "qwen3": {"head_dim": 32},
    "smollm3": {"num_hidden_layers": 4, "attention_bias": True, "mlp_bias": True},
    "olmo2": {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    "olmo3": ALTERNATE,
    "gemma": {"head_dim": 32},
    "gemma2": {**GEMMA, **ALTERNATE, "attn_logit_softcapping": 20.0, "final_logit_softcapping": 5.0},
    "gemma3_text": {**GEMMA, **ALTERNATE},
    "gemma3": {},  # with a tower for pictures
    "phi3": WINDOW,
    "granite": {"embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.3}
    | {"logits_scaling": 2.0},
    "ernie4_5": {"use_bias": True, "head_dim": 16},
    "seed_oss": {"head_dim": 32, "attention_out_bias": True},
    "exaone4": ALTERNATE,
    "glm": {"head_dim": 16, "attention_bias": True},
    "glm4": {"head_dim": 16, "attention_bias": True},
    "hunyuan_v1_dense": {"head_dim": 16},
    "cohere": {},
    "cohere2": ALTERNATE,
    "ministral": {"head_dim": 32, **ALTERNATE},
}
TOWER = {
    "text_config": {**SMALL, **OWN["gemma3_text"]},
    "vision_config": {**SMALL, "image_size": 16, "patch_size": 8},
    "mm_tokens_per_image": 4,
}
# Two documents in a row, twice: 40 positions, of which the first three of each document are not trained.
TOKENS = torch.stack([(torch.arange(40) * 37 + 5) % 93 + 3, (torch.arange(40) * 29 + 11) % 93 + 3])
POSITIONS = torch.cat([torch.arange(24), torch.arange(16)]).expand(2, -1)
LABELS = torch.where(POSITIONS < 3, -100, TOKENS)


def build(family: str) -> Any:
    """A random model whose norms and biases are not 1 and 0."""
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(family, **(TOWER if family == "gemma3" else {**SMALL, **OWN[family]}))
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for name, values in model.named_parameters():
        about = 1 if "norm" in name and not name.startswith("gemma") and "gemma" not in family else 0
        values.data = torch.randn_like(values) * (0.3 if "norm" in name else 0.15) + about
    return model


def packed(model: Any, labels: torch.Tensor | None = None) -> Any:
    """The model on the packed rows: eager attention keeps documents apart by their positions."""
    return model(input_ids=TOKENS, position_ids=POSITIONS, labels=labels, use_cache=False)


def answer(family: str) -> None:
    """Write the model, an adapter, and what comes of them."""
    folder = FOLDER / family
    base = build(family)
    base.save_pretrained(folder)
    layers = [name for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)]
    linear = [name for name in layers if ".layers." in name and "vision" not in name]
    settings = LoraConfig(r=4, lora_alpha=8, target_modules=linear, task_type="CAUSAL_LM")
    model = get_peft_model(base, settings)
    for name, values in model.named_parameters():
        if "lora_B" in name:  # zeros would hide the gradients of A
            values.data = torch.randn_like(values) * 0.1
    model.save_pretrained(folder / "adapter")
    learned = {name: values for name, values in model.named_parameters() if values.requires_grad}
    rule = torch.optim.AdamW(learned.values(), lr=RATE, weight_decay=0.0)
    found: dict[str, torch.Tensor] = {"tokens": TOKENS, "positions": POSITIONS.clone(), "labels": LABELS}
    losses = []
    for step in range(STEPS):
        out = packed(model, LABELS)
        out.loss.backward()
        if step == 0:
            found["logits"] = out.logits.detach().clone()
            save_file({n: v.grad.clone() for n, v in learned.items()}, folder / "gradients.safetensors")
        torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
        rule.step()
        rule.zero_grad()
        losses.append(out.loss.item())
    save_file({**found, "losses": torch.tensor(losses, dtype=torch.float64)}, folder / "answer.safetensors")


def four_bit() -> None:
    """What bitsandbytes makes of a matrix in NF4: with a group of zeros, one of a single value, and exact midpoints."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    torch.manual_seed(2)
    weight = torch.randn(96, 192)
    weight[0, :64] = 0
    weight[1, :64] = 0.25
    weight[2, :64] = torch.linspace(-1, 1, 64)
    packed_, state = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=False)
    save_file({"weight": weight, "dequantised": dequantize_4bit(packed_, state)}, FOLDER / "nf4.safetensors")


def opened(family: str) -> dict[str, float]:
    """How far our logits are from PEFT's with the exported adapter: in float32, and in bf16, where PEFT's own are too."""
    folder = FOLDER / family
    ours, theirs = load_file(folder / "ours.safetensors"), {}
    for name, dtype in (("bf16", torch.bfloat16), ("exact", torch.float32)):
        base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
        model = PeftModel.from_pretrained(base, folder / "exported").eval()
        with torch.no_grad():
            theirs[name] = packed(model).logits.float()

    def apart(found: torch.Tensor) -> float:
        return ((found - theirs["exact"]).norm() / theirs["exact"].norm()).item()

    return {"exact": apart(ours["exact"]), "bf16": apart(ours["bf16"]), "theirs": apart(theirs["bf16"])}


torch.set_num_threads(1)
if FAMILIES[0] == "open":
    print(json.dumps({each: opened(each) for each in FAMILIES[1:]}))
else:
    four_bit()
    for each in FAMILIES or OWN:
        answer(each)
        print(each, flush=True)
