"""Parts of tensors from the safetensors files of a model: a folder, or what the hub's cache holds of it. No network."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from failures import BadJob

TYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
HEAD = 8  # bytes before a file's description, which say how long that is
INDEX, ONE = "model.safetensors.index.json", "model.safetensors"


def folder_of(model: str, revision: str | None = None) -> Path:
    """The folder of a model: its own path, or where the hub's cache has it. Raises BadJob when neither is there."""
    if Path(model).is_absolute():
        return Path(model)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, "config.json", revision=revision)
    if not isinstance(found, str):
        raise BadJob(f"the weights of {model} are not in the hub's cache of this machine")
    return Path(found).parent


class Shards:
    """The tensors of a model by name, of which parts are read.

    Raises BadJob for files that are not there, cut short, or hold types of less than 16 bits.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._places: dict[str, tuple[Path, int, np.dtype[Any], tuple[int, ...]]] = {}
        for path in self._files():
            self._describe(path)

    def _files(self) -> list[Path]:
        index = self.folder / INDEX
        if not index.is_file():
            if not (self.folder / ONE).is_file():
                raise BadJob(f"{self.folder} has no weights: neither {ONE} nor {INDEX}")
            return [self.folder / ONE]
        files = [self.folder / name for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise BadJob(f"{self.folder} lacks {', '.join(absent[:3])}, which its index names")
        return files

    def _describe(self, path: Path) -> None:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(HEAD), "little")
            try:
                tensors = json.loads(file.read(length))
            except ValueError:
                raise BadJob(f"{path} is not a safetensors file") from None
        tensors.pop("__metadata__", None)
        size = path.stat().st_size
        for name, told in tensors.items():
            begin, end = told["data_offsets"]
            if HEAD + length + end > size:
                raise BadJob(f"{path} is cut short: {size} bytes, and `{name}` ends at {HEAD + length + end}")
            if told["dtype"] not in TYPES:
                if told["dtype"].startswith(("I", "U")) and math.prod(told["shape"]) < 1 << 20:
                    continue  # positions and the like, which older checkpoints carry
                raise BadJob(f"`{name}` is published as {told['dtype']}: the TPU trainer reads F32, F16 and BF16")
            self._places[name] = path, HEAD + length + begin, TYPES[told["dtype"]], tuple(told["shape"])

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Any:
        return iter(self._places)

    def shape(self, name: str, expected: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A tensor's shape. Raises BadJob when it is not there, or not the `expected` one."""
        if name not in self._places:
            raise BadJob(f"the weights in {self.folder} lack `{name}`, which the model's config.json asks for")
        found = self._places[name][3]
        if expected is not None and found != expected:
            raise BadJob(f"`{name}` is {found} in the weights, and {expected} by the model's config.json")
        return found

    def part(self, name: str, cut: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        """A copy of that part of a tensor, in the file's type; no more than its pages are read."""
        shape = self.shape(name)
        path, offset, kind, _ = self._places[name]
        # Mapped anew each time, so that the pages of what was read count for nobody's memory afterwards.
        return np.array(np.memmap(path, kind, "r", offset, shape)[cut])
