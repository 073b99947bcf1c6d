"""Bring a run's result home: adapter (or model), tokenizer, metrics, model card. Never deletes anything there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import CloudtrainError, NotFinished, UsageError

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run


def pull(run: Run, target: Path) -> Path:
    """Copy the result to `target`, file by file and atomically each. Raises NotFinished when there is none yet."""
    source = run.store.folder(run.key("output"))
    if not source.is_dir():
        hint = (
            f"`cloudtrain logs -f {run.id}` follows it" if run.state == "running" else "`cloudtrain up` goes on with it"
        )
        raise NotFinished(f"run `{run.id}` has no result yet: it is {run.state}", hint)
    if target.exists() and not target.is_dir():
        raise UsageError(f"`{target}` is a file", "give a folder with --to")
    try:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                copy(path, target / path.relative_to(source))
    except OSError as error:
        raise UsageError(
            f"the result cannot be written to `{target}`: {error.strerror}", f"it is kept in `{source}`"
        ) from error
    return target


def copy(source: Path, target: Path) -> None:
    """Copy one file so that the target is the old one or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        shutil.copy2(source, temporary)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def merge(run: Run, adapter: Path, target: Path) -> Path:
    """Write the base model with the adapter merged in to `target`, in the trainer's environment."""
    from cloudtrain.runs import environment

    python = environment.find(str(run.intent.get("flavour", "cpu")))
    if python is None:
        raise UsageError("merging needs the trainer's environment, which is not there", "`cloudtrain up` makes it")
    script = Path(str(files("cloudtrain.templates"))) / "torch" / "merge.py"
    done = subprocess.run(
        [str(python), str(script), str(adapter), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise CloudtrainError(f"merging run `{run.id}` failed: {last}", f"the adapter is in `{adapter}`")
    return target
