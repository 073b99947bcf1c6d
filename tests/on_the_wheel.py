"""Build the wheel, install it alone, and run the tests against it in a folder where the sources cannot be seen.

    python tests/on_the_wheel.py [pytest arguments]

What is about the repository itself (`tests/repository`) runs in the checkout first. The closing line is pytest's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
UV = [str(Path(sys.executable).parent / "uv")]


def run(argv: list[str], cwd: Path) -> int:
    """Run a program in a folder and give its exit code."""
    return subprocess.run(argv, cwd=cwd, check=False).returncode


def main() -> int:
    """Exit code of the first of the two test runs that fails; 0 when none does."""
    required = os.environ.pop("CLOUDTRAIN_ENGINE_TESTS", None)  # of the second run, on the wheel
    repository = run([sys.executable, "-m", "pytest", "-q", "tests/repository"], ROOT)
    if repository:
        return repository
    os.environ.update({"CLOUDTRAIN_ENGINE_TESTS": required} if required else {})
    with tempfile.TemporaryDirectory(prefix="cloudtrain-wheel-") as name:
        folder = Path(name)
        print("building the wheel and installing it into an environment of its own", flush=True)
        build = [*UV, "build", "-q", "--wheel", "--no-build-isolation", "--out-dir", str(folder)]
        steps = [
            [*build, "--python", sys.executable, str(ROOT)],
            [*UV, "venv", "-q", "--python", sys.executable, "venv"],
            [*UV, "pip", "install", "-q", "--python", "venv/bin/python", "--compile-bytecode", "--require-hashes", "-r",
             str(ROOT / "requirements-dev.lock")],
        ]  # fmt: skip
        for step in steps:
            if code := run(step, folder):
                return code
        wheel = str(next(folder.glob("*.whl")))
        if code := run([*UV, "pip", "install", "-q", "--python", "venv/bin/python", "--no-deps", wheel], folder):
            return code
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("repository", "__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder / "pyproject.toml")
        return run(["venv/bin/python", "-m", "pytest", *sys.argv[1:]], folder)


if __name__ == "__main__":
    sys.exit(main())
