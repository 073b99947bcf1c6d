"""LoRA adapters: fresh ones as PEFT makes them, and to and from the files that `PeftModel.from_pretrained` opens.

An adapter is {"a": (layers, inputs, rank), "b": (layers, rank, outputs)} in float32, by the name of its matrix. Where
a layer has several of a name (LongCat has two), they follow one another: the first dimension is that much longer.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax
import numpy as np
from decoder import Decoder
from failures import BadJob
from safetensors.numpy import load_file, save_file

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
ATTENTION = {"q", "k", "v", "qkv", "o", "q_a", "q_b", "kv_a", "kv_b"}
QUERY_AND_VALUE = {"q", "v", "qkv", "q_b", "kv_b"}
_SIDES = (("a", "A"), ("b", "B"))


def names(decoder: Decoder, targets: str | list[str]) -> tuple[str, ...]:
    """Our names of the matrices that `targets` means: "all-linear", "attention", "qv", or the checkpoint's names.

    Raises BadJob for a name that the model has not.
    """
    modules = decoder.modules
    if targets == "all-linear":
        return tuple(modules)
    if isinstance(targets, str):
        meant = ATTENTION if targets == "attention" else QUERY_AND_VALUE
        return tuple(name for name in modules if name in meant)
    for target in targets:
        _check_target(decoder, target)
    found = []
    for name, places in modules.items():
        caught = [place for place in places if any(_ends(place, target) for target in targets)]
        if caught and len(caught) < len(places):
            raise BadJob(f"`lora.targets` has {caught[0]}: the TPU trainer needs all of {', '.join(places)} then")
        found += [name] if caught else []
    return tuple(found)


def _check_target(decoder: Decoder, target: str) -> None:
    """Raise BadJob for a name of `lora.targets` that means nothing, or more than may learn."""
    places = [place for of_one in decoder.modules.values() for place in of_one]
    if strange := next((name for name in decoder.strangers if _ends(name, target)), None):
        raise BadJob(f"`lora.targets` {target} would put adapters on {strange}, which stays as it is: use attention")
    if not any(_ends(place, target) for place in places):
        last = sorted({place.rsplit(".", 1)[-1] for place in places})
        near = get_close_matches(target, last, n=1)
        told = f"; did you mean `{near[0]}`?" if near else f"; it has {', '.join(last)}"
        raise BadJob(f"the model has no linear layer `{target}`{told}")


def _ends(place: str, target: str) -> bool:
    return f".{place}".endswith(f".{target}")


def blocks(decoder: Decoder, name: str) -> int:
    """How many matrices of that name the model has."""
    return decoder.layers * len(decoder.modules[name])


def fresh(decoder: Decoder, rank: int, seed: int, targets: str | list[str] = "all-linear") -> Any:
    """A from PEFT's distribution (uniform to 1 / sqrt(inputs) either way), B zero, so that nothing changes at first."""
    generator = np.random.default_rng(seed)
    made = {}
    for name in names(decoder, targets):
        inputs, outputs = decoder.matrices[name]
        count = blocks(decoder, name)
        first = generator.uniform(-1, 1, (count, inputs, rank)).astype(np.float32) * inputs**-0.5
        made[name] = {"a": first.astype(np.float32), "b": np.zeros((count, rank, outputs), np.float32)}
    return made


def write(  # noqa: PLR0913, PLR0917 - what PEFT's settings say
    folder: Path,
    decoder: Decoder,
    adapters: Any,
    base: str,
    alpha: float,
    dropout: float = 0.0,
    rslora: bool = False,
) -> None:
    """The adapter's two files: in float32, its settings those of PEFT for the model `base`."""
    tensors = tensors_of(decoder, adapters)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    rank = next(iter(adapters.values()))["a"].shape[-1]
    settings = {
        **{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "inference_mode": True},
        **{"r": int(rank), "lora_alpha": alpha, "lora_dropout": dropout, "use_rslora": rslora, "bias": "none"},
        **{"fan_in_fan_out": False, "init_lora_weights": True},
        "target_modules": sorted(target for name in adapters for target in _shortest(decoder, name)),
    }
    if len(decoder.stems) > 1:  # the towers of a model with pictures have layers of the same names
        layers = f"{decoder.stem}.layers".replace(".", r"\.")
        settings["target_modules"] = rf"{layers}\.\d+\..*\.({'|'.join(settings['target_modules'])})"
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _shortest(decoder: Decoder, name: str) -> set[str]:
    """What tells PEFT which layers are meant: last parts of their names, more where others end alike."""
    last = {place.rsplit(".", 1)[-1] for place in decoder.modules[name]}
    caught = any(_ends(strange, target) for strange in decoder.strangers for target in last)
    return set(decoder.modules[name]) if caught else last


def tensors_of(decoder: Decoder, adapters: Any) -> dict[str, np.ndarray[Any, Any]]:
    """PEFT's names and shapes: a tensor (rank, inputs) or (outputs, rank) for each matrix."""
    found = {}
    for name, pair in jax.tree.map(np.asarray, adapters).items():
        for ours, theirs in _SIDES:
            for block, values in enumerate(pair[ours]):
                found[key(decoder, block, name, theirs)] = np.ascontiguousarray(values.T)
    return found


def key(decoder: Decoder, block: int, name: str, side: str) -> str:
    """What PEFT calls the A or B of a matrix, the `block`-th of its name."""
    return f"base_model.model.{decoder.stem}.{place(decoder, block, name)}.lora_{side}.weight"


def place(decoder: Decoder, block: int, name: str) -> str:
    """The matrix among a model's layers, as its checkpoint has it."""
    places = decoder.modules[name]
    layer, at = divmod(block, len(places))
    return f"layers.{layer}.{places[at]}"


def read(path: Path, decoder: Decoder) -> Any:
    """The adapters in a folder of PEFT's, or in its safetensors file alone (gradients by the same names too).

    Raises BadJob where they are not this model's, or more than LoRA.
    """
    file = path / WEIGHTS if path.is_dir() else path
    try:
        tensors = {name.replace(".default.weight", ".weight"): value for name, value in load_file(file).items()}
    except OSError as error:
        raise BadJob(f"cannot read the adapter {file}: {error}") from None
    return stacks_of(decoder, tensors, file)


def stacks_of(decoder: Decoder, tensors: dict[str, Any], file: Path) -> Any:
    """`tensors_of` the other way round, of what was read from `file`. Raises BadJob as `read` does."""
    tensors, found = dict(tensors), {}
    for name in decoder.matrices:
        if key(decoder, 0, name, "A") not in tensors:
            continue
        found[name] = {}
        for ours, theirs in _SIDES:
            keys = [key(decoder, block, name, theirs) for block in range(blocks(decoder, name))]
            absent = [each for each in keys if each not in tensors]
            if absent:
                raise BadJob(f"the adapter {file} lacks `{absent[0]}`: not every layer has one")
            found[name][ours] = np.stack([tensors.pop(each).T for each in keys]).astype(np.float32)
            size = decoder.matrices[name][0 if ours == "a" else 1]
            if found[name][ours].shape[1 if ours == "a" else 2] != size:
                raise BadJob(f"the adapter {file} is of a model of another size: `{keys[0]}`")
    if tensors or not found:
        other = next(iter(tensors), "nothing")
        raise BadJob(f"the adapter {file} holds `{other}`, which is no LoRA of this model's layers")
    return found
