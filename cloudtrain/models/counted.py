"""Architectures that are counted as a whole instead of being estimated part by part: what a count holds, and where.

A count comes from a formula of ours (`hybrid.py`), or from the shipped transformers, which builds the model without
memory in the trainer's environment (`cloudtrain/trainer/count.py`) and whose answers are kept by the config's hash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from cloudtrain.errors import UsageError


class Counted(NamedTuple):
    """Parameters of a model by kind, and what its adapters are made of.

    `embedding`: looked-up tables and head (once when tied). `linear`: matrices that 4-bit loading quantises, experts
    apart. `active`: what one token passes, looked-up tables apart. `adapted`: inputs + outputs of the matrices that an
    adapter of rank 1 gets under targets qv, attention and all-linear. `how`: who counted, in words.
    """

    total: int
    embedding: int
    linear: int
    experts: int
    router: int
    active: int
    largest: int
    adapted: tuple[int, int, int]
    how: str

    def at_depth(self, share: float) -> Counted:
        """The same model with this share of its layers."""

        def scaled(count: int) -> int:
            return round(count * share)

        inside = self.total - self.embedding
        return self._replace(
            total=self.embedding + scaled(inside),
            linear=scaled(self.linear),
            experts=scaled(self.experts),
            router=scaled(self.router),
            active=max(scaled(self.active), 1),
            adapted=(scaled(self.adapted[0]), scaled(self.adapted[1]), scaled(self.adapted[2])),
        )


class UncountedError(UsageError):
    """A config.json of a type that has no arithmetic here, but may be counted by the trainer's transformers."""

    def __init__(self, path: Path, document: dict[str, Any], model_type: str) -> None:
        super().__init__(
            f"`{path}`: no arithmetic for models of type `{model_type}`",
            "`cloudtrain quote` and `cloudtrain estimate` count them in the trainer's environment",
        )
        self.document = document
        self.model_type = model_type


def place(document: dict[str, Any]) -> Path:
    """Where the count of a config.json is kept: by the hash of its keys and the release that counts."""
    import hashlib

    from cloudtrain.models.classes import version
    from cloudtrain.settings import cache_folder

    content = json.dumps([version(), document], sort_keys=True)
    return cache_folder() / "counted" / f"{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"


def kept(document: dict[str, Any]) -> dict[str, Any] | None:
    """What was counted before; None when nothing was, or nothing that can be read."""
    try:
        found = json.loads(place(document).read_text(encoding="utf-8"))
    except (OSError, ValueError, UsageError):
        return None
    return found if isinstance(found, dict) else None
