"""What the core knows of the engine that creates rented machines: where it is, installing it, who holds a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store


class Held(NamedTuple):
    """A lock holder of a run's Pulumi stack, described, and whether its process still lives."""

    description: str
    owner: Literal["alive", "dead", "elsewhere"]  # elsewhere: on another machine, which cannot be asked


@dataclass(frozen=True)
class Provisioner:
    """The record at the end of `stacks/_pulumi/install.py`.

    `find()` returns the folder that holds the engine and the version that it says itself; it raises UsageError when
    there is none, or one that does not run. `plugin()` returns our plugin's path or raises UsageError. `install()`
    puts version `version` into `target()` and returns it; it raises Unavailable, and then `target()` is as before.
    `build()` does the same from the engine's sources.
    """

    version: str
    source: str  # where an installation comes from
    download_mb: int
    target: Callable[[], Path]
    find: Callable[[], tuple[Path, str]]
    plugin: Callable[[], Path]
    install: Callable[[], Path]
    build: Callable[[], Path]
    build_needs: str  # time and disk, as text
    held: Callable[[Store, str], list[Held]]  # (state, run) -> who holds its stack


def provisioner() -> Provisioner:
    """The one there is, imported when it is asked for."""
    found: Provisioner = import_module("cloudtrain.stacks._pulumi.install").provisioner
    return found
