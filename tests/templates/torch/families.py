"""Run in the trainer's environment: a two-layer random model of each family, to be trained by our own trainer.

python families.py TOKENIZER_FOLDER TARGET_FOLDER FAMILY...
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer

SOURCE, TARGET, *NAMES = sys.argv[1:]
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CLASSES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma2": "Gemma2",
    "gemma3": "Gemma3Text",
    "phi3": "Phi3",
    "olmo2": "Olmo2",
    "smollm3": "SmolLM3",
}

tokenizer = AutoTokenizer.from_pretrained(SOURCE)
for name in NAMES:
    torch.manual_seed(0)
    keys = {key: value for key, value in SMALL.items() if key != "head_dim" or name not in ("qwen2", "olmo2")}
    config = getattr(transformers, f"{CLASSES[name]}Config")(vocab_size=len(tokenizer), **keys)
    model = transformers.AutoModelForCausalLM.from_config(config)
    folder = Path(TARGET) / name
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
