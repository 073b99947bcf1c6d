"""LoRA adapters of LongCat: which layers get one, fresh ones, and the files that PEFT opens and writes.

They are stacks over all halves of all layers in their order: {name: {"a": (2 x layers, inputs, rank), "b": ...}}.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from failures import BadJob
from longcat import ATTENTION, DENSE, HALVES, LongCat
from safetensors.numpy import load_file, save_file

MODULES = ATTENTION | DENSE
QUERY_AND_VALUE = ("q_b", "kv_b")
KEY = "base_model.model.model.layers.{}.{}.lora_{}.weight"
LETTERS = {"a": "A", "b": "B"}


def chosen(targets: str | Sequence[str]) -> tuple[str, ...]:
    """Our names of the layers that `lora.targets` means: never a router or an expert. Raises BadJob for others."""
    groups = {"qv": QUERY_AND_VALUE, "attention": tuple(ATTENTION), "all-linear": tuple(MODULES)}
    if isinstance(targets, str):
        return groups[targets]
    wanted, known = set(targets), {module: name for name in MODULES for module in modules(name)}
    for target in targets:
        if target not in known:
            experts = target in ("gate_proj", "up_proj", "down_proj")
            why = " on the experts too: say" if experts else " on nothing: say"
            raise BadJob(f"`lora.targets` {target} would put adapters{why} {', '.join(sorted(known))}")
    names = tuple(name for name in MODULES if wanted & set(modules(name)))
    for name in names:
        if not wanted >= set(modules(name)):
            raise BadJob(f"`lora.targets` needs both of {' and '.join(modules(name))}")
    return names


def modules(name: str) -> tuple[str, ...]:
    """The modules as PEFT finds them: the last part where only attention has it, else with its half."""
    if name in ATTENTION:
        return (ATTENTION[name].rsplit(".", 1)[-1],)
    return tuple(DENSE[name].format(half) for half in range(HALVES))


def fresh(cat: LongCat, rank: int, seed: int, targets: str | Sequence[str] = "all-linear") -> Any:
    """A uniform within 1 / sqrt(inputs), as PEFT draws it, and B zero, so that nothing changes at first; float32."""
    generator = np.random.default_rng(seed)
    made = {}
    for name in chosen(targets):
        inputs, outputs = cat.matrices[name]
        count, limit = cat.layers * HALVES, inputs**-0.5
        a = generator.uniform(-limit, limit, (count, inputs, rank))
        made[name] = {"a": a.astype(np.float32), "b": np.zeros((count, rank, outputs), np.float32)}
    return made


def keys(cat: LongCat, name: str, part: str) -> list[str]:
    """PEFT's names of the tensors in the stack `part` (a or b) of `name`."""
    return [
        KEY.format(layer, MODULES[name].format(half), LETTERS[part])
        for layer in range(cat.layers)
        for half in range(HALVES)
    ]


def tensors(cat: LongCat, adapters: Any) -> dict[str, np.ndarray]:
    """Adapters as PEFT names and turns them."""
    found: dict[str, np.ndarray] = {}
    for name, pair in jax.tree.map(np.asarray, adapters).items():
        for part, stack in pair.items():
            turned = (np.ascontiguousarray(each.T) for each in stack)
            found |= dict(zip(keys(cat, name, part), turned, strict=True))
    return found


def stacks(cat: LongCat, found: dict[str, np.ndarray]) -> Any:
    """Adapters from tensors under PEFT's names. Raises BadJob for a layer without one where another has it."""
    made: dict[str, Any] = {}
    used: set[str] = set()
    for name in MODULES:
        wanted = {part: keys(cat, name, part) for part in LETTERS}
        if not any(key in found for keys_ in wanted.values() for key in keys_):
            continue
        absent = next((key for keys_ in wanted.values() for key in keys_ if key not in found), None)
        if absent is not None:
            raise BadJob(f"the adapter has no {absent}: the TPU trainer needs {name} in every layer and half, or nowhere")
        made[name] = {part: np.stack([found[key].T for key in keys_]).astype(np.float32) for part, keys_ in wanted.items()}
        used |= {key for keys_ in wanted.values() for key in keys_}
    strange = sorted(found.keys() - used)
    if strange:
        raise BadJob(f"the adapter has {strange[0]}, which the TPU trainer trains not: routers and experts stay as they are")
    return made


def write(folder: Path, cat: LongCat, adapters: Any, base: str, rank: int, alpha: float, dropout: float = 0.0) -> None:
    """`adapter_model.safetensors` and `adapter_config.json` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(cat, adapters), folder / "adapter_model.safetensors", {"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(module for name in adapters for module in modules(name)),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))


def read(folder: Path, cat: LongCat) -> Any:
    """The adapters in a folder that PEFT, or `write`, has made. Raises BadJob for those that do not fit."""
    return stacks(cat, load_file(folder / "adapter_model.safetensors"))
