"""4-bit weights that later runs on this machine take over: a folder for each model in the cache, for a month.

The trainer fills and reads it (`templates/torch/kept.py`). It can be deleted at any time: what is not there is made.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from cloudtrain.errors import UsageError
from cloudtrain.settings import cache_folder

KEPT_FROM_S = 60.0  # what is made sooner is made again
ROOM = 2  # times their size has to be free where they are kept
UNUSED_S = 30 * 86400.0  # since a run has opened the folder
OPENED = ".lock"  # a trainer writes it whenever it opens the folder


def root() -> Path:
    """The folder with all of them. Raises UsageError when there is no place for a cache."""
    return cache_folder() / "quantised"


def kept(job: dict[str, Any], seconds: float, size: int) -> dict[str, Any]:
    """The job with a folder for its weights, where making them takes so long that it pays and the disk has room."""
    if seconds < KEPT_FROM_S:
        return job
    try:
        folder = folder_of(job)
        place = folder if folder.exists() else next(each for each in folder.parents if each.exists())
        if not folder.exists() and shutil.disk_usage(place).free < ROOM * size:
            return job
    except (OSError, UsageError):
        return job
    return {**job, "quantised": {"folder": str(folder.absolute())}}


def folder_of(job: dict[str, Any]) -> Path:
    """One for each model and revision; whether it holds the right weights is for the trainer to see."""
    name, revision = str(job["model"]), job.get("revision")
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", Path(name).name).strip("-.")[:60] or "model"
    return root() / f"{plain}-{hashlib.sha256(json.dumps([name, revision]).encode()).hexdigest()[:12]}"


def forget_unused(now: float) -> None:
    """Delete those that no run has opened for a month."""
    for folder in root().iterdir() if root().is_dir() else ():
        opened = folder / OPENED
        if opened.is_file() and now - opened.stat().st_mtime > UNUSED_S:
            shutil.rmtree(folder, ignore_errors=True)


def size_bytes() -> int:
    """Of all that are kept."""
    return sum(path.stat().st_size for path in root().rglob("*") if path.is_file()) if root().is_dir() else 0
