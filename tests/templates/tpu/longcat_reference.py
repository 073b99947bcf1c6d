"""Run in the environment with transformers 4.57.6: a tiny random LongCat, and what it computes, as the truth.

python longcat_reference.py make FOLDER   the model, an adapter, logits, every gradient, losses of five steps
python longcat_reference.py open FOLDER   the same model with the adapter that the TPU trainer has written there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LongcatFlashConfig, LongcatFlashForCausalLM

torch.set_num_threads(1)
SIZES: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 128,
    "num_layers": 2,
    "num_attention_heads": 4,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "head_dim": 16,
    "ffn_hidden_size": 512,
    "expert_ffn_hidden_size": 64,
    "n_routed_experts": 16,
    "zero_expert_num": 8,
    "moe_topk": 4,
    "routed_scaling_factor": 6.0,
    "rope_theta": 1e7,
    "rms_norm_eps": 1e-2,  # far from that of the norms inside attention, which is not the configuration's
    "max_position_embeddings": 128,
    "attn_implementation": "eager",
}
ROWS, LENGTH, RANK, ALPHA, RATE, STEPS = 8, 32, 4, 8, 1e-2, 5
TARGETS = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
TARGETS += [f"mlps.{half}.{name}_proj" for half in (0, 1) for name in ("gate", "up", "down")]


def model() -> Any:
    """Norms near 1, a router that prefers, and a correction bias that changes choices."""
    torch.manual_seed(0)
    made = LongcatFlashForCausalLM(LongcatFlashConfig(**SIZES)).float()
    for name, parameter in made.named_parameters():
        noise = torch.randn_like(parameter)
        parameter.data = 1 + 0.1 * noise if "norm" in name else noise * (0.3 if "classifier" in name else 0.08)
    for name, buffer in made.named_buffers():
        if "e_score" in name:
            buffer.copy_(torch.randn_like(buffer) * 0.02)
    return made


def adapted(made: Any) -> Any:
    """The model with an adapter on attentions and dense layers, B drawn too, so that A has a gradient; all learns."""
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")
    wrapped = get_peft_model(made, config)
    torch.manual_seed(1)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * (0.02 if "lora_B" in name else 0.1)
        parameter.requires_grad_(True)
    return wrapped


def gradients(wrapped: Any, folder: Path) -> None:
    """Those of the adapter under PEFT's names, those of the weights as a checkpoint of its own.

    There are zeros for the correction bias, and for experts that nobody chose.
    """
    found = {name.replace(".default.", "."): each for name, each in wrapped.named_parameters()}
    pairs = {name: each.grad for name, each in found.items() if "lora_" in name}
    save_file(pairs, folder / "adapter_gradients.safetensors")
    short = {name.removeprefix("base_model.model.").replace(".base_layer.", "."): each for name, each in found.items()}
    names = load_file(folder / "model" / "model.safetensors")
    grads = {name: short[name].grad if name in short else None for name in names}
    whole = {name: torch.zeros_like(names[name]) if grad is None else grad for name, grad in grads.items()}
    (folder / "gradients").mkdir()
    save_file(whole, folder / "gradients" / "model.safetensors")


def make(folder: Path, steps: int) -> None:
    """Everything of one model under `folder`."""
    made = model()
    made.save_pretrained(folder / "model")
    ids = torch.randint(0, SIZES["vocab_size"], (ROWS, LENGTH))
    wrapped = adapted(made)
    wrapped.save_pretrained(folder / "adapter")
    trained = [parameter for name, parameter in wrapped.named_parameters() if "lora_" in name]
    rule = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0)
    losses = []
    for step in range(steps):
        result = wrapped(input_ids=ids, labels=ids, use_cache=False)
        wrapped.zero_grad(set_to_none=True)
        result.loss.backward()
        if step == 0:
            gradients(wrapped, folder)
            save_file({"ids": ids, "logits": result.logits.detach().clone()}, folder / "answer.safetensors")
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        rule.step()
        losses.append(result.loss.item())
    (folder / "losses.json").write_text(json.dumps(losses))


def opened(folder: Path) -> None:
    """How far the logits of PEFT with the trainer's adapter are from the trainer's own, and where it is."""
    source = folder / "model"
    base = LongcatFlashForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    wrapped = PeftModel.from_pretrained(base, folder / "ours")
    ids, expected = load_file(folder / "answer.safetensors")["ids"], load_file(folder / "ours.safetensors")["logits"]
    with torch.no_grad():
        found = wrapped(input_ids=ids, use_cache=False).logits
        with wrapped.disable_adapter():
            without = wrapped(input_ids=ids, use_cache=False).logits
    layers = {
        name.split(".lora_")[0].removeprefix("base_model.model.")
        for name, _ in wrapped.named_parameters()
        if ".lora_" in name
    }
    size = torch.linalg.norm(found)
    answer = {
        "difference": float(torch.linalg.norm(found - expected) / size),
        "effect": float(torch.linalg.norm(found - without) / size),
        "layers": sorted(layers),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    command, place = sys.argv[1:3]
    make(Path(place), STEPS) if command == "make" else opened(Path(place))
