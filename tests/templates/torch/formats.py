"""Run in the trainer's environment: small models whose weights are packed, each loaded by our own trainer's loader.

python formats.py FOLDER MODEL METHOD...: prints one JSON object, format -> method -> what came of it: `dtype` of the
matrices and `trained` when an adapter got gradients, or `refused` with the sentence. MODEL, which has a tokenizer, is
packed as fp8 into `FOLDER/trainable` too.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import job as jobs
import loading
import torch
import transformers
from peft import get_peft_model
from safetensors.torch import load_file, save_file

FOLDER, MODEL, METHODS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
Weights = dict[str, torch.Tensor]
SMALL = {"vocab_size": 128, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic", "fmt": "e4m3"}


def fp8(weights: Weights) -> Weights:
    """Matrices as e4m3 with a scale for each 128 x 128."""
    packed = {}
    for name, tensor in weights.items():
        if "proj" not in name:
            packed[name] = tensor
            continue
        rows, columns = (-(-size // 128) for size in tensor.shape)
        blocks = tensor.float().view(rows, tensor.shape[0] // rows, columns, tensor.shape[1] // columns)
        scales = blocks.abs().amax((1, 3)) / 448
        packed[name] = (blocks / scales[:, None, :, None]).reshape(tensor.shape).to(torch.float8_e4m3fn)
        packed[f"{name}_scale_inv"] = scales
    return packed


def mxfp4(weights: Weights) -> Weights:
    """The experts of gpt-oss as blocks of 32 numbers in 4 bit."""
    packed = {}
    for name, tensor in weights.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            packed[name] = tensor
            continue
        count, inputs, outputs = tensor.shape
        packed[f"{name}_blocks"] = torch.randint(0, 255, (count, outputs, inputs // 32, 16), dtype=torch.uint8)
        packed[f"{name}_scales"] = torch.full((count, outputs, inputs // 32), 118, dtype=torch.uint8)
    return packed


def halved(weights: Weights) -> Weights:
    """Two numbers in a byte, as NVIDIA's tool and mlx-lm leave matrices: narrower than the model's."""
    return {
        name: torch.zeros(tensor.shape[0], tensor.shape[1] // 2, dtype=torch.uint8) if tensor.dim() == 2 else tensor
        for name, tensor in weights.items()
    }


def same(weights: Weights) -> Weights:
    """For what is refused before a weight is read."""
    return weights


# Format as the product names it -> model type, key of the config, what it says, what it does to the weights.
FORMATS: dict[str, tuple[str, str, dict[str, Any], Callable[[Weights], Weights]]] = {
    "fp8": ("llama", "quantization_config", FP8, fp8),
    "mxfp4": ("gpt_oss", "quantization_config", {"quant_method": "mxfp4"}, mxfp4),
    "gptq": ("llama", "quantization_config", {"quant_method": "gptq", "bits": 4, "group_size": 128}, same),
    "awq": ("llama", "quantization_config", {"quant_method": "awq", "bits": 4, "group_size": 128}, same),
    "compressed-tensors": ("llama", "quantization_config", {"quant_method": "compressed-tensors"}, same),
    "nvfp4": ("llama", "quantization_config", {"quant_method": "nvfp4"}, same),
    "modelopt": ("llama", "quantization_config", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, halved),
    "mlx": ("llama", "quantization", {"group_size": 64, "bits": 4}, halved),
    "hqq": ("llama", "quantization_config", {"quant_method": "hqq", "quant_config": {}}, same),
}


def plain(kind: str) -> Path:
    """A random model in bfloat16."""
    torch.manual_seed(0)
    extra = {"num_local_experts": 4, "num_experts_per_tok": 2} if kind == "gpt_oss" else {}
    config = transformers.CONFIG_MAPPING[kind](**SMALL, **extra)
    folder = FOLDER / kind
    transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def packed(name: str, folder: Path, source: Path | None = None) -> Path:
    """The model of a format, or `source` packed so."""
    kind, key, says, change = FORMATS[name]
    shutil.copytree(source or FOLDER / kind, folder)
    document = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**document, key: says}))
    weights = folder / "model.safetensors"
    save_file(change(load_file(weights)), weights, metadata={"format": "pt"})
    return folder


def four_bit() -> Path:
    """A model that bitsandbytes has packed and that was saved so."""
    config = loading.four_bit("llama", torch.bfloat16)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        FOLDER / "llama", quantization_config=config, device_map={"": "cpu"}, dtype=torch.bfloat16
    )
    model.save_pretrained(FOLDER / "bitsandbytes 4-bit")
    return FOLDER / "bitsandbytes 4-bit"


def outcome(folder: Path, method: str) -> dict[str, Any]:
    """What the trainer's loader makes of it; with adapters, whether they get gradients."""
    file = FOLDER / "job.json"
    document = {"model": str(folder), "method": method, "data": {"path": "/none"}, "sequence_length": 16}
    document |= {"checkpoint": {"folder": str(FOLDER / "ckpt")}, "output": str(FOLDER / "output")}
    file.write_text(json.dumps(document))
    job = jobs.read(file)
    try:
        model = loading.load_model(job)
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    asked = loading.unpacked(transformers.AutoConfig.from_pretrained(folder))
    found: dict[str, Any] = {"unpacking": asked is not None and asked.dequantize}
    found |= {"dtype": str(next(p for n, p in model.named_parameters() if "q_proj.weight" in n).dtype)}
    if job.adapter:
        model = get_peft_model(model, loading.adapter_config(job, model))
        tokens = torch.randint(1, 100, (1, 8))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            model(input_ids=tokens, labels=tokens).loss.backward()
        found["trained"] = all(p.grad is not None for p in model.parameters() if p.requires_grad)
    return found


for kind in ("llama", "gpt_oss"):
    plain(kind)
packed("fp8", FOLDER / "trainable", MODEL)
folders = {name: packed(name, FOLDER / name) for name in FORMATS} | {"bitsandbytes 4-bit": four_bit()}
print(json.dumps({name: {method: outcome(folder, method) for method in METHODS} for name, folder in folders.items()}))
