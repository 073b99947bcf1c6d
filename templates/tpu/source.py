"""Where a job's model is: its folder, what its configuration describes, how many parameters it has."""

from __future__ import annotations

import json
import math
from pathlib import Path

import decoder
from failures import BadJob, one_line
from job import Job

FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def folder(job: Job) -> Path:
    """The folder of the job's model, fetched from the hub where it is none. Raises BadJob."""
    if Path(job.model).is_dir():
        return Path(job.model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(job.model, revision=job.revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise BadJob(f"cannot load {job.model}: {one_line(error)}") from None


def described(job: Job, place: Path) -> decoder.Decoder:
    """The decoder that the model's configuration describes. Raises BadJob for one that is unknown here."""
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadJob(f"cannot load {job.model}: {one_line(error)}") from None
    text = config.get("text_config", config)
    positions = text.get("max_position_embeddings")
    if positions and job.sequence_length > positions:
        raise BadJob(f"`sequence_length` is {job.sequence_length}, but the model has {positions} positions")
    return decoder.from_config(config)


def parameters(place: Path) -> int:
    """How many parameters the folder's weights have, by the headers of its files."""
    from safetensors import safe_open

    count = 0
    for path in sorted(place.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return count
