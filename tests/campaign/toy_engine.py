"""A fake of the engine inside one process: the same records in the same order, and deaths where they hurt most.

As in the real one, a create is pending before it is asked for and gets its id when it is done; an engine that is killed
leaves the pending entry, one whose plugin died leaves nothing (measured on the real engine: `stacks/README.md`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

from cloudtrain.providers import Resource
from tests.campaign.parts import crud


class Killed(BaseException):
    """The process is gone at this point."""


class Bomb:
    """Counts steps and kills at one of them; without a fuse it never does."""

    def __init__(self, fuse: int | None = None) -> None:
        self.fuse = fuse

    def tick(self) -> None:
        """One more step."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                raise Killed


class ToyEngine:
    """The state of one run's stack, and the two operations."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.made: list[tuple[str, dict[str, Any], str]] = []  # kind, inputs, id
        self.waiting: list[tuple[str, dict[str, Any]]] = []
        self.world: Any = None

    def up(self, world: Any, resources: Sequence[Resource]) -> None:
        """Make the resources one after the other; stops at the first that fails."""
        done: dict[str, dict[str, Any]] = {}
        for resource in resources:
            needs = {role: done[role] for role in resource.after}
            inputs = json.loads(json.dumps({**dict(resource.inputs), **({"needs": needs} if needs else {})}))
            self.waiting.append((resource.kind, inputs))
            try:
                seen = crud().create(world, resource.kind, inputs)
            except Killed:
                if self.random.random() < 0.3:
                    self.waiting.pop()  # only the plugin died: the engine forgets the step
                raise
            except crud().HalfMade as half:
                self.waiting.pop()
                self.made.append((resource.kind, inputs, half.seen.id))
                raise half.cause from None
            except Exception:
                self.waiting.pop()
                raise
            self.waiting.pop()
            self.made.append((resource.kind, inputs, seen.id))
            done[resource.role] = {**dict(seen.outputs), "id": seen.id}

    def take_lock(self) -> None:
        """Nobody else is there."""

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """What was begun and has no end."""
        return list(self.waiting)

    def destroy(self) -> None:
        """Delete what the state knows, backwards; a failure does not keep the others alive. Pending creates are lost."""
        failure = None
        for kind, inputs, made in list(reversed(self.made)):
            try:
                crud().delete(self.world, kind, inputs, made)
            except Exception as error:
                failure = error
                continue
            self.made.remove((kind, inputs, made))
        self.waiting.clear()
        if failure is not None:
            raise failure

    def forget(self) -> None:
        """Remove the state."""
        self.made.clear()
