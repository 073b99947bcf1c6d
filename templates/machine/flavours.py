"""A flavour of a back end's environment: what decides its content, its name, and the steps that install it.

Client, machine and image build all go by this file and by the back end's `backend.json`, so that an environment which
one of them has made is found by the others. Standard library only, Python 3.9 to 3.14.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

INDEX_PATIENCE_S = 10  # for PyTorch's own package index, which not every network reaches
PYTHONS = ((3, 13), (3, 12), (3, 11), (3, 14))  # for packages that name none, in this order where a machine has several


class Step(NamedTuple):
    """One call of `uv pip install`: what is said before, its arguments, its variables, what to do where it fails."""

    message: str
    arguments: Sequence[str]
    variables: Mapping[str, str]
    instead: Step | None = None


def read(folder: str) -> dict[str, Any]:
    """The description of the back end in that folder. Raises OSError, ValueError."""
    with open(os.path.join(folder, "backend.json"), encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def locks(packages: Mapping[str, Any]) -> list[str]:
    """The lock files that a flavour's `packages` name."""
    pytorch = packages.get("pytorch")
    return [*packages["locks"], *([pytorch["lock"]] if pytorch else [])]


def pythons(packages: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """The versions of Python that the packages run on, the preferred one first."""
    named = [tuple(int(part) for part in version.split(".")) for version in packages.get("pythons", ())]
    return named or list(PYTHONS)


def decisive_bytes(folder: str, packages: Mapping[str, Any]) -> bytes:
    """What decides which packages are installed: the table's entry as sorted JSON, and the lock files themselves."""
    found = json.dumps(packages, sort_keys=True, separators=(",", ":")).encode()
    for name in locks(packages):
        with open(os.path.join(folder, name), "rb") as file:
            found += b"\0" + file.read()
    return found


def folder_name(folder: str, flavour: str, version: Iterable[int]) -> str:
    """What the environment's folder is called, for a version of Python like (3, 12), on this platform."""
    digest = hashlib.sha256(decisive_bytes(folder, read(folder)["flavours"][flavour]["packages"]))
    digest.update(f"\0{tuple(version)} {sys.platform} {platform.machine()}".encode())
    return f"{flavour}-{digest.hexdigest()[:16]}"


def steps(folder: str, packages: Mapping[str, Any], title: str) -> list[Step]:
    """How the packages come into an environment, in order; each by hash but PyTorch's own build.

    That one is pinned by version alone: PyTorch's index has other files than the ones whose hashes are in the lock.
    """
    found = []
    pytorch = packages.get("pytorch")
    if pytorch:
        lock = os.path.join(folder, pytorch["lock"])
        wanted = pytorch_pin(lock)
        larger = f"PyTorch's own index cannot be reached: installing the larger build of {wanted} (2.7 GB) from PyPI"
        found.append(
            Step(
                f"installing {wanted} for {pytorch['build']}",
                ["--torch-backend", pytorch["build"], wanted],
                {"UV_HTTP_TIMEOUT": str(INDEX_PATIENCE_S), "UV_HTTP_RETRIES": "0"},
                Step(larger, by_hash(lock), {}) if pytorch["or_pypi"] else None,
            )
        )
    for name in packages["locks"]:
        found.append(Step(f"installing the {title}'s packages", by_hash(os.path.join(folder, name)), {}))
    return found


def by_hash(lock: str) -> list[str]:
    """The arguments that install a lock file."""
    return ["--require-hashes", "--requirements", lock]


def pytorch_pin(lock: str) -> str:
    """`torch==...` of a lock file."""
    with open(lock, encoding="utf-8") as file:
        return next(line.split()[0] for line in file if line.startswith("torch=="))


def flavour_on(flavours: Mapping[str, Any], accelerator: str) -> str:
    """The first flavour of the table that computes on that accelerator; "" when there is none."""
    return next((name for name, about in flavours.items() if about.get("accelerator") == accelerator), "")
