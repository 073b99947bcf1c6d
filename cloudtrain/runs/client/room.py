"""Whether this machine has the disk space for what a run writes here, asked before anything is made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cloudtrain.errors import UsageError
from cloudtrain.models import registry
from cloudtrain.settings import cache_folder
from cloudtrain.trainer import environment

if TYPE_CHECKING:
    from cloudtrain.models.spec import ModelSpec
    from cloudtrain.quote.machine.disk import Parts

GB = 10**9


class Written(NamedTuple):
    """What is written where, in bytes."""

    what: str
    folder: Path
    bytes: int


def written(parts: Parts, model: ModelSpec, flavour: str, runs: Path, resumed: bool) -> list[Written]:
    """What a run on this machine adds to its folders; what is there already is not written again.

    `runs`: where the state keeps runs. One that is `resumed` has made room for its checkpoints already.
    """
    found = []
    if environment.find(flavour) is None:
        found.append(Written("packages", cache_folder(), parts.environment))
    hub = registry.hub_cache()
    if not model.path and hub is not None and not registry.has_weights(model.hub_id):
        found.append(Written("weights", hub, parts.weights))
    if parts.quantised:
        found.append(Written("4-bit weights", cache_folder(), parts.quantised))
    if not resumed:
        found.append(Written("checkpoints and result", runs, parts.checkpoints + parts.output))
    return found


def check(items: list[Written]) -> None:
    """Raise UsageError for a disk that has less free than would be written to it; the folders may not exist yet."""
    disks: dict[int, list[Written]] = {}
    for item in items:
        disks.setdefault(existing(item.folder).stat().st_dev, []).append(item)
    for group in disks.values():
        needed, free = sum(item.bytes for item in group), shutil.disk_usage(existing(group[0].folder)).free
        if needed > free:
            parts = ", ".join(f"{item.what} {item.bytes / GB:,.1f} GB in {item.folder}" for item in group)
            raise UsageError(
                f"this run writes {needed / GB:,.1f} GB to a disk that has {free / GB:,.1f} GB free: {parts}",
                "free some space, or move the cache (CLOUDTRAIN_CACHE), the hub's cache (HF_HOME) or the state "
                "(CLOUDTRAIN_STATE) to another disk",
            )


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
