"""A provider stack whose machines are rented: the four verbs of `Stack`, through the engine and the crash protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from cloudtrain.billing import Billing
from cloudtrain.providers import Cloud, DeletionProof, Guard, OwnedResource, Stack, StopOptions

from .._lifecycle import answers

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import MachineRecord
    from cloudtrain.state.protocol import Store


def provisioned(
    name: str,
    *,
    guards: Callable[[str, str], tuple[Guard, ...]],
    backends: frozenset[str],
    cloud: Cloud,
    billed: Billing | None = None,
) -> Stack:
    """The record at the end of a provider's file. Nothing heavy is imported before a verb is used."""
    cloud = answers.closed(name, cloud)
    bill = None if billed is None else billed._replace(ask=answers.reading(name, billed.ask))

    def start(plan: Plan, store: Store, log: Callable[[str], None]) -> MachineRecord:
        from . import launch

        return launch.start(name, cloud, plan, store, log)

    def alive(machine: MachineRecord) -> bool:
        from . import launch

        return launch.alive(cloud, machine)

    def stop(run: str, store: Store, stopping: StopOptions) -> DeletionProof:
        from . import launch

        return launch.stop(name, cloud, run, store, stopping)

    def preview(plan: Plan) -> Sequence[str]:
        from . import launch

        return launch.preview(name, cloud, plan)

    def unlock(run: str, store: Store, force: bool) -> tuple[list[str], list[str]]:
        from . import owners

        return owners.unlock(store, run, force)

    def find(run: str, store: Store, has_reported: bool) -> MachineRecord | None:
        from . import launch

        return launch.find(name, cloud, run, store, has_reported)

    def list_owned() -> Iterator[OwnedResource]:
        yield from cloud.list_owned(None, None)

    verbs = (start, alive, stop, list_owned, preview, unlock)
    return Stack(name, guards, backends, False, *verbs, cloud=cloud, find=find, billed=bill)
