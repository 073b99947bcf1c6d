"""The import contracts of pyproject.toml: what they cannot see is held here, and each of them is seen to fail."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("cloudtrain", "pricing", "stacks")
# What client and machine share (templates/README.md): these import nothing of ours, so that no contract has to see them.
SHARED = {"common.rows", "common.limits", "machine.flavours"}

# A line at the end of a file, and the contract that it breaks. The files only have to exist.
BREACHES = {
    "one direction": ("cloudtrain/units.py", "from cloudtrain.quote import engine"),
    "one direction, for a type only": (
        "cloudtrain/models/spec.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cloudtrain.quote.row import QuoteRow",
    ),
    "no circle": ("stacks/_lifecycle/journal.py", "from .recover import recover"),
    "no circle, between folders": ("stacks/_lifecycle/names.py", "from .._pulumi import engine"),
    "the core never names": ("cloudtrain/runs/launch.py", "def f():\n    import boto3"),
    "the core never names, a provider": ("cloudtrain/runs/launch.py", "from stacks.aws import shapes"),
    "a price source knows": ("pricing/aws/__init__.py", "from cloudtrain.quote import engine"),
    "a stack never prints": ("stacks/gcp/tpu.py", "def f():\n    from cloudtrain.quote import engine"),
    "price sources do not know each other": ("pricing/runpod.py", "from . import kaggle"),
    "price sources do not know each other, by way of what they share": ("pricing/_snapshot.py", "from . import kaggle"),
    "stacks do not know each other": ("stacks/runpod/owned.py", "from ..aws import links"),
    "`up` asks and prints": ("cloudtrain/cli/up/screen.py", "def f():\n    from cloudtrain.runs import teardown"),
    "fake clouds": ("cloudtrain/runs/launch.py", "def f():\n    from cloudtrain.simulator import clock"),
    "fake clouds, in a stack": ("stacks/aws/machine.py", "from cloudtrain.simulator.clock import Clock"),
}


@cache
def graph() -> dict[str, set[str]]:
    """Module -> modules of ours that it imports, for types and inside functions too."""
    built = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    return {module: built.find_modules_directly_imported_by(module) for module in built.modules}


def test_no_module_is_part_of_an_import_circle() -> None:
    """A package's own `__init__` counts: the contract looks at siblings only."""
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def sources() -> Iterator[tuple[Path, ast.AST]]:
    """Every module of the product."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            yield path.relative_to(ROOT), ast.parse(path.read_text())


def absolute(node: ast.AST) -> list[str]:
    """The full names that an import statement may mean."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return []


def test_provider_folders_are_imported_relatively_or_by_name() -> None:
    """`from cloudtrain.stacks import aws` works, but the contracts, which know the folder as `stacks`, do not see it."""
    hidden = [
        f"{path}:{node.lineno} {name}"
        for path, tree in sources()
        for node in ast.walk(tree)
        for name in absolute(node)
        if f"{name}.".startswith(("cloudtrain.pricing.", "cloudtrain.stacks.", "cloudtrain.templates."))
        and not is_shared(name.removeprefix("cloudtrain.templates."))
    ]
    assert hidden == []


def is_shared(name: str) -> bool:
    """Whether a name below `templates` is a shared module, something in one, or the folder of one."""
    return any(f"{name}.".startswith(f"{each}.") or each.startswith(f"{name}.") for each in SHARED)


@pytest.mark.parametrize("name", sorted(SHARED))
def test_a_module_that_client_and_machine_share_stands_alone(name: str) -> None:
    """It is `rows` on a machine and `cloudtrain.templates.common.rows` here: only a package's own modules are in both."""
    path = ROOT / "templates" / name.replace(".", "/")
    modules = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    trees = [ast.parse(module.read_text()) for module in modules]
    imported = {each.partition(".")[0] for tree in trees for node in ast.walk(tree) for each in absolute(node)}
    assert imported <= sys.stdlib_module_names | {"pyarrow"}
    relative = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    assert all(node.level == 1 for node in relative), "no deeper than its own package"


def lint(folder: Path) -> str:
    """What the contracts say about the sources in a folder."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, to be broken."""
    folder = tmp_path_factory.mktemp("sources")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_of_each_contract_is_seen(name: str, copied: Path) -> None:
    """A contract that cannot fail holds nothing."""
    path, line = BREACHES[name]
    file, contract = copied / path, name.partition(",")[0]
    before = file.read_text()
    try:
        file.write_text(f"{before}\n{line}\n")
        said = [each for each in lint(copied).splitlines() if each.startswith(contract)]
    finally:
        file.write_text(before)
    assert "BROKEN" in said[0]


def test_the_contracts_are_kept(copied: Path) -> None:
    """Otherwise the breaches above would show nothing."""
    assert " 0 broken" in lint(copied)
