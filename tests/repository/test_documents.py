"""What every file and document of the repository keeps to: commands and links exist, nothing private, nothing large."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def tracked() -> list[Path]:
    """Every text file that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "word", ["/wo" + "rk/", "pypi" + ".org", "files.python" + "hosted", "download.py" + "torch", "farm" + "-"]
)
def test_no_file_names_a_private_path_or_a_registry_host(word: str) -> None:
    """What is committed runs anywhere: no path of one machine, no host of a package registry."""
    assert [str(path) for path in tracked() if word in path.read_text(encoding="utf-8", errors="replace")] == []


def test_every_command_of_the_readme_exists() -> None:
    """A `cloudtrain NAME` in a README is a command."""
    from cloudtrain.cli import ALIASES, root

    known = set(root.list_commands(None)) | set(ALIASES)  # type: ignore[arg-type]
    for path in ROOT.rglob("README.md"):
        if ".venv" not in path.parts:
            named = set(re.findall(r"`cloudtrain ([a-z]+)", path.read_text())) | set(
                re.findall(r"^cloudtrain ([a-z]+)", path.read_text(), re.MULTILINE)
            )
            assert named <= known, path


def test_links_between_documents_lead_somewhere() -> None:
    """A relative link in a README names a file."""
    for path in ROOT.rglob("README.md"):
        if ".venv" not in path.parts:
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
                assert (path.parent / target).exists(), f"{path}: {target}"


def test_modules_and_functions_stay_small() -> None:
    """No module over 300 lines and no function over 60, tests apart; the supervisor is one file by design."""
    import ast

    too_large = []
    for path in tracked():
        if path.suffix != ".py" or "tests" in path.parts:
            continue
        text = path.read_text()
        if text.count("\n") > 300 and path.name != "supervisor.py":
            too_large.append(f"{path.name}: {text.count(chr(10))} lines")
        too_large += [
            f"{path.name}:{node.lineno} {node.name}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (node.end_lineno or node.lineno) - node.lineno + 1 > 60
        ]
    assert too_large == []
