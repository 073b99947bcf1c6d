"""A stack whose machines have to be made: the four verbs of the seam, through the engine and the crash protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain.seams import Absence, Cloud, Ending, Guard, Owned, Stack

if TYPE_CHECKING:
    from cloudtrain.runs.plan import Plan
    from cloudtrain.runs.store import Store


def provisioned(
    name: str, *, guards: Callable[[str, str], tuple[Guard, ...]], backends: frozenset[str], cloud: Cloud
) -> Stack:
    """The record at the end of a provider's file. Nothing heavy is imported before a verb is used."""

    def start(plan: Plan, store: Store, say: Callable[[str], None]) -> dict[str, Any]:
        from . import _launch

        return _launch.start(name, cloud, plan, store, say)

    def alive(machine: dict[str, Any]) -> bool:
        from . import _launch

        return _launch.alive(cloud, machine)

    def stop(run: str, store: Store, ending: Ending) -> Absence:
        from . import _launch

        return _launch.stop(name, cloud, run, store, ending)

    def preview(plan: Plan) -> Sequence[str]:
        from . import _launch

        return _launch.preview(name, cloud, plan)

    def unlock(run: str, store: Store, force: bool) -> tuple[list[str], list[str]]:
        from . import _owners

        return _owners.unlock(store, run, force)

    def find(run: str, store: Store, spoke: bool) -> dict[str, Any] | None:
        from . import _launch

        return _launch.find(name, cloud, run, store, spoke)

    def list_owned() -> Iterator[Owned]:
        yield from cloud.list_owned(None, None)

    return Stack(name, guards, backends, False, start, alive, stop, list_owned, preview, unlock, cloud, find)
