"""Build the wheel, install it alone, and run the tests against it in a folder where the sources cannot be seen.

    python tests/on_the_wheel.py [pytest arguments]

What is about the repository itself (`tests/repository`) runs in the checkout first. The closing line is pytest's.
The locked packages (about 200 MB) lie in the cache in an environment named by the lock; each run reinstalls the wheel
there, and no other run may while it lasts: a second one at the same time gets an environment of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudtrain.settings import cache_folder

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements-dev.lock"
UV = [str(Path(sys.executable).parent / "uv")]


def run(argv: list[str], cwd: Path) -> int:
    """Run a program in a folder and give its exit code."""
    return subprocess.run(argv, cwd=cwd, check=False).returncode


@contextmanager
def locked_environment() -> Iterator[Path]:
    """The folder of an environment with the packages of the lock, ours alone until we leave; made when there is none.

    Raises SystemExit with uv's exit code.
    """
    about = f"{sys.version_info[:2]} {sys.platform} {platform.machine()}".encode()
    key = hashlib.sha256(LOCK.read_bytes() + about).hexdigest()[:16]
    folder = cache_folder() / "wheel-tests"
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        environment = folder / f"{key}-{number}"
        with environment.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if not (environment / "whole").exists():
                make(environment)
            yield environment
            return


def make(environment: Path) -> None:
    """Install the lock, anew when a former attempt has not come to its end."""
    print("making the environment of the tests on the wheel (about 200 MB, once a lock)", flush=True)
    shutil.rmtree(environment, ignore_errors=True)
    install = [*UV, "pip", "install", "-q", "--python", str(environment / "bin" / "python"), "--compile-bytecode"]
    for step in (
        [*UV, "venv", "-q", "--python", sys.executable, str(environment)],
        [*install, "--require-hashes", "-r", str(LOCK)],
    ):
        if code := run(step, ROOT):
            sys.exit(code)
    (environment / "whole").touch()


def main() -> int:
    """Exit code of the first of the two test runs that fails; 0 when none does."""
    required = os.environ.pop("CLOUDTRAIN_ENGINE_TESTS", None)  # of the second run, on the wheel
    beside = ["-n", "2", "--dist", "loadgroup"]
    repository = run([sys.executable, "-m", "pytest", "-q", *beside, "tests/repository"], ROOT)
    if repository:
        return repository
    os.environ.update({"CLOUDTRAIN_ENGINE_TESTS": required} if required else {})
    with locked_environment() as environment, tempfile.TemporaryDirectory(prefix="cloudtrain-wheel-") as name:
        folder = Path(name)
        print("building the wheel and installing it", flush=True)
        build = [*UV, "build", "-q", "--wheel", "--no-build-isolation", "--out-dir", str(folder)]
        if code := run([*build, "--python", sys.executable, str(ROOT)], folder):
            return code
        wheel, python = str(next(folder.glob("*.whl"))), str(environment / "bin" / "python")
        for old in environment.glob("lib/*/site-packages/cloudtrain"):
            shutil.rmtree(old)  # a folder of bytecode that is left of an older tree can be imported
        install = [*UV, "pip", "install", "-q", "--python", python, "--no-deps", "--reinstall", "--compile-bytecode"]
        if code := run([*install, wheel], folder):
            return code
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("repository", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")
        return run([python, "-m", "pytest", *sys.argv[1:]], folder)


if __name__ == "__main__":
    sys.exit(main())
