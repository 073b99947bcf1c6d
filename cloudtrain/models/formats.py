"""In what format a repository publishes its weights, and which method can load that: the tables `formats.csv`.

Every trainer back end has one of its own in its folder, for the hardware that it drives; the one here is for the rest.
"""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).with_name("formats.csv")
SIDE_FILE = "hf_quant_config.json"  # where NVIDIA's tool writes what other tools write into config.json
MAX_BYTES = 2**20


class Verdict(NamedTuple):
    """`word`: yes, no, untried, or `dequantised` (16-bit weights are made while loading); `reason`: why not yes."""

    word: str
    reason: str


class _Row(NamedTuple):
    formats: frozenset[str]
    backends: frozenset[str]
    families: frozenset[str]
    methods: frozenset[str]
    found: Verdict


@cache
def rows() -> tuple[_Row, ...]:
    """All tables, each in its order, the trainers' first."""
    from cloudtrain import backends

    tables = [backend.table("formats.csv") for backend in backends.all_backends()]
    return tuple(row for path in (*tables, TABLE) if path for row in _read(path))


def _read(path: Path) -> list[_Row]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            _Row(
                frozenset(row["format"].split("|")),
                frozenset(row["backends"].split("|")),
                frozenset(row["families"].split("|")),
                frozenset(row["methods"].split("|")),
                Verdict(row["verdict"], row["reason"]),
            )
            for row in csv.DictReader(file)
        ]


def verdict(published: str, family: str, method: str, backend: str) -> Verdict:
    """Whether `method` on `backend` can load a family's weights in the `published` format ("": not quantised)."""
    if not published:
        return Verdict("yes", "")
    kind = published.partition(" (")[0]
    return next(
        row.found
        for row in rows()
        if not row.formats.isdisjoint((kind, "*"))
        and not row.backends.isdisjoint((backend, "*"))
        and not row.families.isdisjoint((family, "*"))
        and not row.methods.isdisjoint((method, "*"))
    )


def of_config(*documents: dict[str, Any]) -> str:
    """The format that a config.json (or the language model's part in it) names; "" for weights that are not quantised.

    Details follow in brackets: `modelopt (nvfp4)`.
    """
    for document in documents:
        found = document.get("quantization_config")
        if isinstance(found, dict) and found:
            return _named(found)
    for document in documents:  # MLX's own key; it writes the other one too, without a method
        found = document.get("quantization")
        if isinstance(found, dict) and "bits" in found:
            return "mlx"
    return ""


def of_folder(folder: Path) -> str:
    """The format that the side file of NVIDIA's tool names; "" without one."""
    try:
        with open(folder / SIDE_FILE, "rb") as stream:
            document = json.loads(stream.read(MAX_BYTES))
    except (OSError, ValueError):
        return ""
    found = document.get("quantization") if isinstance(document, dict) else None
    return _modelopt(found) if isinstance(found, dict) else ""


def _named(found: dict[str, Any]) -> str:
    method = found.get("quant_method")
    if found.get("load_in_4bit") is True or found.get("_load_in_4bit") is True:
        return "bitsandbytes 4-bit"
    if found.get("load_in_8bit") is True or method == "bitsandbytes":
        return "bitsandbytes 8-bit"
    if method == "modelopt" or "quant_algo" in found:
        return _modelopt(found)
    if not isinstance(method, str) or not method:
        return "mlx" if "bits" in found else "unnamed"
    kind = method.lower()[:40]
    layout = found.get("format")
    return f"{kind} ({layout[:40]})" if kind == "compressed-tensors" and isinstance(layout, str) and layout else kind


def _modelopt(found: dict[str, Any]) -> str:
    algorithm = found.get("quant_algo")
    return f"modelopt ({algorithm.lower()[:40]})" if isinstance(algorithm, str) and algorithm else "modelopt"
