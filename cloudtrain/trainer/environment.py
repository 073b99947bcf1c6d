"""Private Python environments of trainer and verifier: made with uv from lock files on first use, found by their key.

An environment is a folder named by the hash of what decides its content. It is built beside its place and renamed into
it when it is whole, under a lock that the system drops when the builder dies; so a folder of that name is complete.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cloudtrain.errors import CloudtrainError, Unavailable, UsageError, nearest
from cloudtrain.settings import cache_folder

Say = Callable[[str], None]
INDEX_PATIENCE_S = 10  # for PyTorch's own package index, which not every network reaches


@dataclass(frozen=True, slots=True)
class Flavour:
    """A set of packages: its lock file, uv's name of the PyTorch build, and whether PyPI's own build does too.

    The lock is a path from the trainer's folder. Without a PyTorch build (`torch_backend` "") it is all there is.
    """

    lock: str
    torch_backend: str
    any_build: bool

    @property
    def locks(self) -> tuple[str, ...]:
        """Every lock file that decides what is installed."""
        return (self.lock, "torch.lock") if self.torch_backend else (self.lock,)

    @property
    def disk(self) -> str:
        """How large it gets, for a person."""
        return "1.5 GB to 8 GB" if self.torch_backend else "1.2 GB"


FLAVOURS = {
    "cpu": Flavour("requirements.lock", "cpu", any_build=True),
    "longcat": Flavour("requirements-longcat.lock", "cpu", any_build=True),
    "rocm": Flavour("requirements.lock", "rocm7.2", any_build=False),
    "xpu": Flavour("requirements.lock", "xpu", any_build=False),
    "mps": Flavour("requirements.lock", "cpu", any_build=True),
    "tpu-compiler": Flavour("../verify/tpu-compiler.lock", "", any_build=False),
}


def find(flavour: str = "cpu") -> Path | None:
    """The Python of the flavour's environment, or None when it has not been made yet. Raises UsageError."""
    python = _python(_folder(flavour))
    return python if python.exists() else None


def ensure(flavour: str = "cpu", say: Say = lambda sentence: None) -> Path:
    """The Python of the flavour's environment, which is made when there is none (20 s to some minutes, up to 8 GB).

    `say` gets one sentence per thing that takes long. Raises UsageError for an unknown flavour or no home folder,
    Unavailable when packages cannot be fetched, CloudtrainError when the disk is full or uv fails otherwise.
    """
    folder = _folder(flavour)
    if (python := find(flavour)) is not None:
        return python
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock"), say):
            if not _python(folder).exists():
                _build(folder, FLAVOURS[flavour], say)
    except OSError as error:
        hint = "free some disk space, or set CLOUDTRAIN_CACHE to a folder with room for 8 GB"
        raise CloudtrainError(f"the environment could not be written: {error.strerror}", hint) from None
    return _python(folder)


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
    """Where the flavour's environment is or will be: named by the locks, the Python version and the platform."""
    if flavour not in FLAVOURS:
        close = nearest(flavour, list(FLAVOURS))
        known = f"known: {', '.join(FLAVOURS)}"
        raise UsageError(f"unknown trainer flavour `{flavour}`", f"did you mean `{close}`?" if close else known)
    about = FLAVOURS[flavour]
    key = hashlib.sha256(f"{about} {sys.version_info[:2]} {sys.platform} {platform.machine()}".encode())
    for name in about.locks:
        key.update(_template(name).read_bytes())
    return cache_folder() / "environments" / f"{flavour}-{key.hexdigest()[:16]}"


def _template(name: str) -> Path:
    return Path(str(files("cloudtrain.templates"))) / "torch" / name


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock file; the system lets go of it when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            say("another process is making the trainer's environment; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, flavour: Flavour, say: Say) -> None:
    """Make the environment aside and rename it into place. Only `python` is used of it: its path is not baked in."""
    building = folder.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)  # of a builder that died; the lock is ours
    whose = "trainer's" if flavour.torch_backend else "TPU compiler's"
    say(f"making the {whose} environment (once; about {flavour.disk} on disk)")
    try:
        _uv(["venv", "--relocatable", "--python", sys.executable, str(building)])
        if flavour.torch_backend:
            _install_torch(building, flavour, say)
        say(f"installing the {whose} packages")
        _install(building, "--require-hashes", "--requirements", str(_template(flavour.lock)))
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _install_torch(building: Path, flavour: Flavour, say: Say) -> None:
    """PyTorch's build for the accelerator from PyTorch's index, else PyPI's build where that one does too.

    The first is pinned by version alone: that index has other files than the ones whose hashes are in the lock.
    """
    wanted = next(
        line.split()[0] for line in _template("torch.lock").read_text().splitlines() if line.startswith("torch==")
    )
    say(f"installing {wanted} for {flavour.torch_backend}")
    patience = {"UV_HTTP_TIMEOUT": str(INDEX_PATIENCE_S), "UV_HTTP_RETRIES": "0"}
    try:
        _install(building, "--torch-backend", flavour.torch_backend, wanted, env=patience)
    except CloudtrainError:
        if not flavour.any_build:
            raise
        say(f"PyTorch's own index cannot be reached: installing the larger build of {wanted} (2.7 GB) from PyPI")
        _install(building, "--require-hashes", "--requirements", str(_template("torch.lock")))


def _install(building: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
    _uv(["pip", "install", "--python", str(_python(building)), "--no-deps", *arguments], env)


def _uv(arguments: list[str], env: dict[str, str] | None = None) -> None:
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
    said = " ".join(lines[-3:])[:400] or "it said nothing"
    low = output.lower()
    if "no space left" in low:
        return CloudtrainError(
            f"the disk is full: {said}", "free some space, or set CLOUDTRAIN_CACHE to a folder with room for 8 GB"
        )
    if any(word in low for word in ("failed to fetch", "error sending request", "timed out", "dns error", "connect")):
        return Unavailable(f"the environment's packages could not be fetched: {said}", "check the network and repeat")
    return CloudtrainError(f"uv could not make the environment: {said}", "repeat; if it persists, report it")
