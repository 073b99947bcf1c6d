"""The import contracts of pyproject.toml: what they cannot see is held here, and each of them is seen to fail."""

from __future__ import annotations

import ast
import os
import re
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
SHARED = {"common.rows", "common.limits", "common.products", "machine.flavours"}

# A line at the end of a file, the contract that it breaks, and how that contract names it: all files are broken at once,
# and a contract that was broken by another line would say so. The files only have to exist.
BREACHES = {
    "one direction": (
        "cloudtrain/units.py",
        "from cloudtrain.quote import engine",
        "cloudtrain.units -> cloudtrain.quote.engine",
    ),
    "one direction, for a type only": (
        "cloudtrain/models/spec.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cloudtrain.quote.row import QuoteRow",
        "cloudtrain.models.spec -> cloudtrain.quote.row",
    ),
    "no circle": (
        "stacks/_lifecycle/journal.py",
        "from .recover import recover",
        "No cycles are allowed in stacks._lifecycle.",
    ),
    "no circle, between folders": (
        "stacks/_lifecycle/names.py",
        "from .._pulumi import engine",
        "No cycles are allowed in stacks.\n",
    ),
    "the core never names": (
        "cloudtrain/runs/launch.py",
        "def f():\n    import boto3",
        "cloudtrain.runs.launch -> boto3",
    ),
    "the core never names, a provider": (
        "cloudtrain/runs/launch.py",
        "from stacks.aws import shapes",
        "cloudtrain.runs.launch -> stacks.aws.shapes",
    ),
    "a price source knows": (
        "pricing/aws/__init__.py",
        "from cloudtrain.quote import engine",
        "pricing.aws -> cloudtrain.quote.engine",
    ),
    "a stack never prints": (
        "stacks/gcp/tpu.py",
        "def f():\n    from cloudtrain.quote import engine",
        "stacks.gcp.tpu -> cloudtrain.quote.engine",
    ),
    "price sources do not know each other": (
        "pricing/colab.py",
        "from . import kaggle",
        "pricing.colab -> pricing.kaggle",
    ),
    "price sources do not know each other, by way of what they share": (
        "pricing/_snapshot.py",
        "from . import kaggle",
        "pricing._snapshot -> pricing.kaggle",
    ),
    "stacks do not know each other": (
        "stacks/runpod/owned.py",
        "from ..aws import links",
        "stacks.runpod.owned -> stacks.aws.links",
    ),
    "`up` asks and prints": (
        "cloudtrain/cli/up/screen.py",
        "def f():\n    from cloudtrain.runs import teardown",
        "cloudtrain.cli.up.screen -> cloudtrain.runs.teardown",
    ),
    "fake clouds": (
        "cloudtrain/runs/launch.py",
        "def f():\n    from cloudtrain.simulator import clock",
        "cloudtrain.runs.launch -> cloudtrain.simulator.clock",
    ),
    "fake clouds, in a stack": (
        "stacks/aws/machine.py",
        "from cloudtrain.simulator.clock import Clock",
        "stacks.aws.machine -> cloudtrain.simulator.clock",
    ),
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
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "300"}
    command = [sys.executable, "-c", program, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def copied(folder: Path) -> Path:
    """The sources, to be broken."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.csv"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Contract -> what it says of the sources with all breaches in them; "" of one that is kept."""
    folder = copied(tmp_path_factory.mktemp("broken"))
    for path, line, _ in BREACHES.values():
        with (folder / path).open("a") as file:
            file.write(f"\n{line}\n")
    verdicts, _, details = lint(folder).partition("Broken contracts\n")
    said = re.findall(r"^([^\n]+)\n-{4,}\n(.*?)(?=^[^\n]+\n-{4,}\n|\Z)", details, re.MULTILINE | re.DOTALL)
    return {name: words if f"{name} BROKEN" in verdicts else "" for name, words in said}


@pytest.mark.xdist_group("imports")  # they share what the linter said once
@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_of_each_contract_is_seen(name: str, broken: dict[str, str]) -> None:
    """A contract that cannot fail holds nothing."""
    contract, seen = name.partition(",")[0], BREACHES[name][2]
    (words,) = [words for each, words in broken.items() if each.startswith(contract)]
    assert f"{seen} (l." in words if " -> " in seen else seen in words


def test_the_contracts_are_kept(tmp_path: Path) -> None:
    """Otherwise the breaches above would show nothing."""
    assert " 0 broken" in lint(copied(tmp_path))
