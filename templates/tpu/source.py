"""Where a model is: its folder, what its configuration describes, how many parameters it has; an adapter's scale."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import decoder
from failures import BadJob, one_line
from job import Job
from longcat import LongCat
from shards import Shards

FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def place(model: str, revision: str | None) -> Path:
    """The folder of a model, fetched from the hub where it is none. Raises BadJob."""
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise BadJob(f"cannot load {model}: {one_line(error)}") from None


def described(job: Job, folder: Path) -> decoder.Decoder | LongCat:
    """The decoder that the model's configuration and the job describe. Raises BadJob for one that is unknown here."""
    found = decoder.read(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    positions = config.get("text_config", config).get("max_position_embeddings")
    if positions and job.sequence_length > positions:
        raise BadJob(f"`sequence_length` is {job.sequence_length}, but the model has {positions} positions")
    return replace(found, capacity=job.expert_capacity) if isinstance(found, LongCat) else found


def dense(folder: Path) -> decoder.Decoder:
    """The same for programs that know dense models alone. Raises BadJob for another."""
    found = decoder.read(folder)
    if not isinstance(found, decoder.Decoder):
        raise BadJob(f"{folder} is no dense model: the TPU trainer cannot ask it; use PEFT for its adapters")
    return found


def parameters(folder: Path) -> int:
    """How many parameters the folder's weights have, by the headers of its files."""
    shards = Shards(folder)
    return sum(math.prod(shards.shape(name)) for name in shards)


def scale(adapter: Path) -> float:
    """What an adapter's change is multiplied by. Raises BadJob for one whose layers differ in it."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("rank_pattern") or config.get("alpha_pattern"):
        raise BadJob(f"the adapter in {adapter} has other ranks in some layers, which the TPU trainer does not know")
    rank = config["r"]
    return float(config["lora_alpha"]) / float(rank**0.5 if config.get("use_rslora") else rank)
