"""Private Python environments of trainer and verifier: made with uv from lock files on first use, found by their key.

An environment is a folder named by the hash of what decides its content. It is built next to its place and renamed into
it when it is whole, under a lock that the system drops when the builder dies; so a folder of that name is complete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudtrain import backends
from cloudtrain.errors import CloudtrainError, Unavailable, UsageError
from cloudtrain.settings import cache_folder

if TYPE_CHECKING:  # the same file, where a type checker finds it
    from templates.machine import flavours
else:
    from cloudtrain.templates.machine import flavours

Log = Callable[[str], None]


def find(flavour: str) -> Path | None:
    """The Python of the flavour's environment, or None when it has not been made yet. Raises UsageError."""
    python = _python(_folder(flavour))
    return python if python.exists() else None


def ensure(flavour: str, log: Log = lambda text: None) -> Path:
    """The Python of the flavour's environment, which is made when there is none (20 s to some minutes, up to 8 GB).

    `log` gets one message per slow step. Raises UsageError for an unknown flavour or no home folder,
    Unavailable when packages cannot be fetched, CloudtrainError when the disk is full or uv fails otherwise.
    """
    folder = _folder(flavour)
    if (python := find(flavour)) is not None:
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock"), log):
            if not _python(folder).exists():
                _build(folder, flavour, log)
    except OSError as error:
        hint = "free some disk space, or set CLOUDTRAIN_CACHE to a folder with room for 8 GB"
        raise CloudtrainError(f"the environment could not be written: {error.strerror}", hint) from None
    return _python(folder)


def lock_digest(flavour: str) -> str:
    """What tells the flavour's packages from those of another version, on any machine. Raises UsageError."""
    backend = backends.of_flavour(flavour)
    packages = backend.flavours[flavour].packages
    return hashlib.sha256(flavours.decisive_bytes(str(backend.folder), packages)).hexdigest()


def uv_binary() -> str:
    """The uv program: of the `uv` package, else on PATH. Raises UsageError when there is neither."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise UsageError("`uv` is needed to make the trainer's environment", "install it: `pip install uv`")
    return found


def _folder(flavour: str) -> Path:
    """Where the flavour's environment is or will be: named by its packages, the Python version and the platform."""
    backend = backends.of_flavour(flavour)
    version = _version(backend.flavours[flavour].packages)
    return cache_folder() / "environments" / flavours.folder_name(str(backend.folder), flavour, version)


def _version(packages: Mapping[str, Any]) -> tuple[int, ...]:
    """The Python of an environment: this one, unless the packages name others."""
    own = sys.version_info[:2]
    return own if "pythons" not in packages or own in flavours.pythons(packages) else flavours.pythons(packages)[0]


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


@contextmanager
def _locked(path: Path, log: Log) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            log("another process is making the trainer's environment; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, flavour: str, log: Log) -> None:
    """Make the environment aside and rename it into place. Only `python` is used of it: its path is not baked in."""
    building = folder.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)  # of a builder that died; the lock is ours
    backend = backends.of_flavour(flavour)
    about = backend.flavours[flavour]
    version = _version(about.packages)
    interpreter = sys.executable if version == sys.version_info[:2] else ".".join(map(str, version))  # uv finds it
    if older := [str(path) for path in _older(folder, flavour, version)]:
        log(f"the {backend.title}'s packages have changed; this version does not use {', '.join(older)} any more")
    log(f"making the {backend.title}'s environment (once; about {about.disk} on disk)")
    try:
        _uv(["venv", "--relocatable", "--python", interpreter, str(building)])
        for step in flavours.steps(str(backend.folder), about.packages, backend.title):
            _install(building, step, log)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _older(folder: Path, flavour: str, version: tuple[int, ...]) -> Iterator[Path]:
    """Whole environments of the flavour under another key, with the same Python."""
    wanted = f"version_info = {'.'.join(map(str, version))}."
    for other in sorted(folder.parent.glob(f"{flavour}-*/pyvenv.cfg")):
        name, _, key = other.parent.name.rpartition("-")
        if name == flavour and key.isalnum() and wanted in other.read_text(errors="replace"):
            yield other.parent


def _install(building: Path, step: flavours.Step, log: Log) -> None:
    """One step, or what does in its place where it fails."""
    log(step.message)
    try:
        _uv(["pip", "install", "--python", str(_python(building)), "--no-deps", *step.arguments], step.variables)
    except CloudtrainError:
        if step.instead is None:
            raise
        _install(building, step.instead, log)


def _uv(arguments: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run uv. Raises Unavailable or CloudtrainError with the last of what it said."""
    command = [uv_binary(), "--no-progress", "--color", "never", *arguments]
    inherited = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    # uv obeys the settings of the project it is started in: start it where there is none.
    place = cache_folder() / "environments"
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False, env={**inherited, **(env or {})}
    )
    if done.returncode:
        raise _failure(done.stderr)


def _failure(output: str) -> CloudtrainError:
    """uv's complaint as an error of ours: its last lines, and what to do about the usual causes."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = " ".join(lines[-3:])[:400] or "it printed nothing"
    low = output.lower()
    if "no space left" in low:
        return CloudtrainError(
            f"the disk is full: {said}", "free some space, or set CLOUDTRAIN_CACHE to a folder with room for 8 GB"
        )
    if any(word in low for word in ("failed to fetch", "error sending request", "timed out", "dns error", "connect")):
        return Unavailable(f"the environment's packages could not be fetched: {said}", "check the network and repeat")
    return CloudtrainError(f"uv could not make the environment: {said}", "repeat; if it persists, report it")
