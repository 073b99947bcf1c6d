"""Merge an adapter into its base model: `python merge.py ADAPTER_DIR OUT_DIR`. OUT_DIR appears whole or not at all.

File by file as the base has them, tensor by tensor: no more than one tensor is in memory, in float32.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "common"))  # what all trainers share

import merging
from failures import BadJob

KEPT = ("*.json", "*.jinja", "*.model", "*.txt")  # of the base, beside its weights
OF_ADAPTER = {"adapter_config.json", "metrics.json", "README.md", "adapter_model.safetensors"}
PIECE = 1 << 24  # bytes of an unchanged tensor that are copied at once


def merge(adapter: Path, out: Path) -> None:
    """Write the base model, its weights in the type that they have, with the adapter's change added.

    Raises BadJob when `adapter` is no adapter of a model that is known here, or `out` is there already.
    """
    about = merging.settings(adapter, out)
    import source

    base = source.place(about["base_model_name_or_path"], about.get("revision"))
    changes = _changes(adapter, base)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for pattern in KEPT:
        for path in base.glob(pattern):
            shutil.copyfile(path, partial / path.name)
    for path in sorted(adapter.iterdir()):  # the tokenizer that it was trained with
        if path.is_file() and path.name not in OF_ADAPTER:
            shutil.copyfile(path, partial / path.name)
    for path in sorted(base.glob("*.safetensors")):
        _rewrite(path, partial / path.name, changes)
    if changes:
        raise BadJob(f"the weights in {base} lack `{next(iter(changes))}`, which the adapter changes")
    partial.rename(out)


class Change(NamedTuple):
    """What is added to a matrix (outputs, inputs): scale times (inputs, rank) times (rank, outputs), turned."""

    a: Any
    b: Any
    scale: float


def _changes(adapter: Path, base: Path) -> dict[str, Change]:
    """By the names that the base's files have for the matrices."""
    import adapters
    import decoder
    import source
    from shards import Shards

    shape, shards = decoder.read(base), Shards(base)
    found, scale = adapters.read(adapter, shape), source.scale(adapter)
    stem = next((stem for stem in shape.stems if f"{stem}.embed_tokens.weight" in shards), shape.stems[0])
    return {
        f"{stem}.{adapters.place(shape, block, name)}.weight": Change(pair["a"][block], pair["b"][block], scale)
        for name, pair in found.items()
        for block in range(adapters.blocks(shape, name))
    }


def _rewrite(source: Path, target: Path, changes: dict[str, Change]) -> None:
    """The same file with the changes made that are about its tensors; those are taken out of `changes`."""
    with source.open("rb") as old, target.open("wb") as new:
        size = old.read(8)
        head = old.read(int.from_bytes(size, "little"))
        new.write(size + head)
        tensors = json.loads(head)
        tensors.pop("__metadata__", None)
        for name, told in sorted(tensors.items(), key=lambda item: int(item[1]["data_offsets"][0])):
            begin, end = told["data_offsets"]
            change = changes.pop(name, None)
            if change is None:
                new.writelines(_pieces(old, end - begin))
            else:
                new.write(_changed(old.read(end - begin), told, change))


def _pieces(file: Any, size: int) -> Iterator[bytes]:
    for begin in range(0, size, PIECE):
        yield file.read(min(PIECE, size - begin))


def _changed(data: bytes, told: dict[str, Any], change: Change) -> bytes:
    import numpy as np
    from shards import TYPES

    kind = TYPES[told["dtype"]]
    weight = np.frombuffer(data, kind).reshape(told["shape"]).astype(np.float32)
    weight += (change.a @ change.b).T * np.float32(change.scale)
    return weight.astype(kind).tobytes()


if __name__ == "__main__":
    sys.exit(merging.main(sys.argv[1:], merge))
