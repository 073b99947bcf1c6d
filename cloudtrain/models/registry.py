"""The models cloudtrain knows by name, and how any name, folder or cached hub id becomes a ModelSpec."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError
from cloudtrain.models.families import FAMILIES, sliding_layers
from cloudtrain.models.ngram import ngram_parameters
from cloudtrain.models.shape import Shape
from cloudtrain.models.spec import ModelSpec, Published

_FILE = Path(__file__).parent / "registry.csv"
_SIZES = (
    *("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocab"),
    *("experts", "top_k", "zero_experts", "shared_experts", "expert_intermediate", "dense_layers"),
    *("q_rank", "kv_rank", "qk_nope", "qk_rope", "v_head", "sliding_window"),
)


def all_models() -> list[ModelSpec]:
    """Every model of the registry, in its order."""
    return [_spec(row, row["hub_id"]) for row in _rows()]


def find(text: str) -> ModelSpec:
    """The model that `text` names: a registry name, alias or hub id (case ignored), a folder, or a cached hub id.

    A hub id keeps the spelling under which it was listed, so `.../Llama-3.1-8B-Instruct` stays the instruct model. A
    folder wins over a name only when it is written as a path. Raises UsageError with the nearest name.
    """
    wanted = text.strip()
    if not wanted:
        raise UsageError("no model named", "`cloudtrain models` lists the known ones")
    if _looks_like_path(wanted):
        return _read_folder(Path(os.path.expanduser(wanted)))
    for row in _rows():
        for name in _names(row):
            if name.lower() == wanted.lower():
                return _spec(row, name if "/" in name else row["hub_id"])
    folder = Path(wanted)
    if _is_model_folder(folder):
        return _read_folder(folder)
    cached = cached_snapshot(wanted)
    if cached:
        return replace(_read_folder(cached), name=wanted, hub_id=wanted)
    from cloudtrain.models.unknown import refusal

    raise refusal(wanted, _choices())


def _rows() -> Iterator[dict[str, str]]:
    with open(_FILE, encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _names(row: dict[str, str]) -> list[str]:
    return [row["name"], row["hub_id"], *(alias for alias in row["aliases"].split("|") if alias)]


def _spec(row: dict[str, str], hub_id: str) -> ModelSpec:
    family = FAMILIES[row["family"]]
    sizes: dict[str, Any] = {key: int(row[key]) for key in _SIZES}
    ngram = (int(row[key]) for key in ("ngram_ratio", "ngram_neighbours", "ngram_splits"))
    tables, projections = ngram_parameters(sizes["vocab"], sizes["hidden"], *ngram)
    shape = Shape(
        family=row["family"],
        tied=row["tied"] == "yes",
        attention_bias=family.attention_bias,
        sliding_layers=sliding_layers(sizes["layers"], sizes["sliding_window"], family.global_every),
        ngram_tables=tables,
        ngram_projections=projections,
        **sizes,
    )
    return ModelSpec(row["name"], hub_id, shape, published=_published(row, hub_id))


def _published(row: dict[str, str], hub_id: str) -> Published:
    """What the row says of the repository `hub_id`; a cell's `id=value` parts are those of single repositories."""

    def of_id(cell: str) -> str:
        common, *own = cell.split("|") if "=" not in cell.partition("|")[0] else ("", *cell.split("|"))
        return next((part.partition("=")[2] for part in own if part.partition("=")[0] == hub_id), common)

    return Published(
        model_type=row["model_type"] or row["family"],
        text_type="gemma3_text" if row["model_type"] == "gemma3" else "",
        format=of_id(row["format"]),
        positions=int(of_id(row["positions"])),
        gated=row["gated"] == "yes",
        template=False if hub_id in row["no_template"].split("|") else None,
    )


def chat_variant(spec: ModelSpec) -> str:
    """The repository of the same model whose tokenizer has a chat template; "" when the registry lists none."""
    for row in _rows():
        ids = [name for name in _names(row) if "/" in name]
        with_template = [name for name in ids if name not in row["no_template"].split("|")]
        if with_template and (spec.hub_id in ids or _spec(row, row["hub_id"]).shape == spec.shape):
            return max(with_template, key=lambda name: common_letters(name, spec.hub_id or row["hub_id"]))
    return ""


def common_letters(one: str, other: str) -> int:
    """How many letters both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..") or text.endswith(("/", ".json"))


def _is_model_folder(folder: Path) -> bool:
    try:
        return (folder / "config.json").is_file()
    except (OSError, ValueError):  # a name too long for the file system, or one with a null in it
        return False


def _read_folder(path: Path) -> ModelSpec:
    from cloudtrain.models.config import read

    return read(path)


def hub_cache() -> Path | None:
    """Where Hugging Face keeps downloads (HF_HUB_CACHE, HF_HOME/hub or the user's cache); None without a home."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"])
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home) / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if cache.startswith("~") else Path(cache) / "huggingface" / "hub"


def has_weights(hub_id: str) -> bool:
    """Whether the local cache holds weights of `hub_id`, so that none are fetched."""
    folder = cached_snapshot(hub_id)
    return folder is not None and any(folder.glob("*.safetensors"))


def cached_snapshot(hub_id: str) -> Path | None:
    """The newest snapshot folder of `hub_id` in the hub's local cache that holds a config.json, if any."""
    cache = hub_cache()
    if cache is None or hub_id.count("/") > 1 or "\0" in hub_id or ".." in hub_id:
        return None
    snapshots = cache / ("models--" + hub_id.replace("/", "--")) / "snapshots"
    try:
        folders = [folder for folder in snapshots.iterdir() if (folder / "config.json").is_file()]
        return max(folders, key=lambda folder: folder.stat().st_mtime, default=None)
    except OSError:  # no such download, or a cache that this user may not read
        return None


def _choices() -> list[str]:
    return [name for row in _rows() for name in _names(row)]
