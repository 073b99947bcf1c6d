"""What the core may know of the engine that makes rented machines: where it is, installing it, who holds a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from cloudtrain.state.protocol import Store


class Held(NamedTuple):
    """Somebody who holds a run's stack, in words, and whether that one still lives."""

    words: str
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
    build_needs: str  # time and disk, in words
    held: Callable[[Store, str], list[Held]]  # (state, run) -> who holds its stack


def provisioner() -> Provisioner:
    """The one there is, imported when it is asked for."""
    found: Provisioner = import_module("cloudtrain.stacks._pulumi.install").provisioner
    return found
