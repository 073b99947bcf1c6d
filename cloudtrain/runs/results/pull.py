"""Download a run's result: adapter (or model), tokenizer, metrics, model card. Never deletes anything there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import CloudtrainError, JobFailed, NotFinished, UsageError
from cloudtrain.runs.transfer import multipart
from cloudtrain.state.errors import StrangeKey

if TYPE_CHECKING:
    from cloudtrain.runs.record import Run
    from cloudtrain.state.protocol import Store

BLOCK_BYTES = 16 << 20


def pull(run: Run, target: Path) -> Path:
    """Copy the result to `target`, file by file and atomically each. Raises NotFinished when there is none yet."""
    source = run.key("output")
    try:
        found = multipart.whole_files(run.store, source)
    except StrangeKey as error:
        raise JobFailed(f"the result of run `{run.id}` cannot be brought home: {error.message}", error.hint) from error
    if not found:
        hint = f"`cloudtrain logs -f {run.id}` follows it" if run.state == "running" else "`cloudtrain up` resumes it"
        raise NotFinished(f"run `{run.id}` has no result yet: it is {run.state}", hint)
    if target.exists() and not target.is_dir():
        raise UsageError(f"`{target}` is a file", "give a folder with --to")
    try:
        for name, keys in found.items():
            copy(run.store, keys, target / name)
    except OSError as error:
        raise UsageError(
            f"the result cannot be written to `{target}`: {error.strerror}",
            f"it is kept in `{run.store.place(source)}`",
        ) from error
    return target


def copy(store: Store, keys: list[str], target: Path) -> None:
    """Copy the pieces of one file so that the target is the old file or the whole new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            for key in keys:
                offset = 0
                while block := store.read_from(key, offset, BLOCK_BYTES):
                    offset += file.write(block)
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def umask() -> int:
    """The rights that new files of this process do not get; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def merge(run: Run, adapter: Path, target: Path) -> Path:
    """Write the base model with the adapter merged in to `target`, in the trainer's environment."""
    from cloudtrain import backends
    from cloudtrain.trainer import environment
    from cloudtrain.trainer.keyless import without_keys

    backend = backends.of_flavour(run.intent.flavour)
    script = backend.program("merge")
    if script is None:
        raise UsageError(f"the `{backend.name}` trainer cannot merge its adapters", f"the adapter is in `{adapter}`")
    python = environment.find(run.intent.flavour)
    if python is None:
        raise UsageError("merging needs the trainer's environment, which is not there", "`cloudtrain up` makes it")
    done = subprocess.run(
        [str(python), str(script), str(adapter), str(target)],
        capture_output=True,
        text=True,
        check=False,
        env=without_keys(os.environ),
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise CloudtrainError(f"merging run `{run.id}` failed: {last}", f"the adapter is in `{adapter}`")
    return target
