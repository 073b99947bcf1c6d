"""What a command may import: a quote answers in a tenth of a second because it leaves the heavy packages alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "boto3",
    "botocore",
    "grpc",
    "google",
    "pulumi",
    "requests",
    "pandas",
    "numpy",
    "torch",
    "pydantic",
    "yaml",
    "tomlkit",
}


def imported_by(program: str, *argv: str) -> set[str]:
    """Top-level packages in the process after a command has run."""
    shown = f"import sys; sys.argv[1:] = {list(argv)!r}; {program}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


@pytest.mark.parametrize(
    "argv",
    [
        ["quote", "longcat-flash", "--method", "qlora"],
        ["quote", "llama-3.1-8b", "-o", "json"],
        ["estimate", "qwen3-8b"],
        ["throughput", "qwen3-8b", "--hardware", "mi300x"],
        ["models"],
        ["ps"],
        ["report"],
        ["--help"],
    ],
)
def test_no_heavy_package_is_imported(argv: list[str]) -> None:
    """None of the clouds' SDKs, no Pulumi, no pydantic, no array library."""
    assert not imported_by("from cloudtrain.cli import run; run(sys.argv[1:])", *argv) & HEAVY


def test_the_version_is_answered_before_click_is_imported() -> None:
    """`--version` costs little more than Python itself."""
    program = "from cloudtrain.__main__ import main; main()"
    loaded = imported_by(program, "--version")
    assert "click" not in loaded
    assert "cloudtrain" in loaded
