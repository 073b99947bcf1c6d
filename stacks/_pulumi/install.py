"""The Pulumi engine as `doctor` sees it: found, run once, installed whole or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cloudtrain.errors import Unavailable, UsageError
from cloudtrain.provisioner import Held, Provisioner

from .._lifecycle import processes
from . import build as pulumi_build
from . import command, engine, fetch, owners

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store

SOURCE = "https://get.pulumi.com"  # where its makers' archive is
DOWNLOAD_MB = 150
PATIENCE_S = 60.0  # for `pulumi version`, on a machine that is busy


def find() -> tuple[Path, str]:
    """The folder that holds `bin/pulumi`, and its version. Raises UsageError."""
    root = command.find()
    try:
        return root, version_of(root)
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(
            f"Pulumi's command line in `{root}` does not run ({type(error).__name__})",
            f"`cloudtrain doctor --install-pulumi` installs version {command.VERSION}",
        ) from None


def version_of(root: Path) -> str:
    """What `pulumi version` says, in a home of its own. Raises OSError and SubprocessError when it does not run."""
    with tempfile.TemporaryDirectory(prefix="cloudtrain-") as home:
        answer = subprocess.run(
            [str(root / "bin" / "pulumi"), "version"],
            env={**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_HOME": home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
    return answer.stdout.strip().removeprefix("v")


def plugin() -> Path:
    """Our plugin, which the engine starts. Raises UsageError when it is not installed."""
    for folder in engine._script_folders():
        if os.access(folder / engine.PLUGIN, os.X_OK):
            return folder / engine.PLUGIN
    raise UsageError(f"`{engine.PLUGIN}` is not next to this Python", "install cloudtrain again")


def install() -> Path:
    """Put the pinned version out of its makers' archive into a folder next to the target, run it, and move it there.

    Returns the target; when a working one is there already, nothing is downloaded. Raises Unavailable.
    """
    return installed(fetch.fetch)


def build() -> Path:
    """The same with a build from its Go module, which takes minutes."""
    return installed(pulumi_build.build)


def installed(make: Callable[[Path], None]) -> Path:
    """The target, made whole by `make`, which raises OSError, ValueError or SubprocessError when it cannot."""
    target = command.installed_root()
    if works(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as folder:
            made = Path(folder) / "root"
            make(made)
            if not works(made):
                raise OSError(f"what was installed is not version {command.VERSION}")
            put(made, target)
    except subprocess.CalledProcessError as error:
        raise refusal(last_line(error.output) or f"the installer ended with {error.returncode}") from None
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise refusal(str(getattr(error, "reason", error))) from None
    return target


def works(root: Path) -> bool:
    """Whether the pinned version is in `root` and runs."""
    try:
        return version_of(root) == command.VERSION
    except (OSError, subprocess.SubprocessError):
        return False


def put(made: Path, target: Path) -> None:
    """Move a whole installation to its place; one that another process has put there is as good."""
    if target.exists() and not works(target):
        shutil.rmtree(target)
    try:
        os.replace(made, target)
    except OSError:
        if not works(target):
            raise


def refusal(message: str) -> Unavailable:
    """Why it is not installed, and the other ways."""
    return Unavailable(
        f"Pulumi {command.VERSION} could not be installed: {message}",
        "repeat the command, or install it by other means and have it on PATH or in CLOUDTRAIN_PULUMI_ROOT",
    )


def last_line(output: bytes | str | None) -> str:
    """The last thing that a process said."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return (text.strip().splitlines() or [""])[-1].strip()[:200]


def held(store: Store, run: str) -> list[Held]:
    """Who holds the run's stack."""
    found = []
    for lock in owners.locks(store, run):
        if not lock.here and lock.host != "?":
            found.append(Held(lock.description, "elsewhere"))
        elif lock.here and processes.start_of(lock.pid) and "pulumi" in owners._command_line(lock.pid):
            found.append(Held(lock.description, "alive"))
        else:
            found.append(Held(lock.description, "dead"))
    return found


provisioner = Provisioner(
    version=command.VERSION,
    source=SOURCE,
    download_mb=DOWNLOAD_MB,
    target=command.installed_root,
    find=find,
    plugin=plugin,
    install=install,
    build=build,
    build_needs=pulumi_build.NEEDS,
    held=held,
)
