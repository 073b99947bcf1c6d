"""The verbs of a provisioned stack: create a machine, ask its state, delete it; a failed create leaves nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cloudtrain import errors
from cloudtrain.errors import (
    Cancelled,
    CloudtrainError,
    NoCapacity,
    NotFound,
    ProviderError,
    TeardownIncomplete,
    Unavailable,
    UsageError,
    mark_nothing_left,
    visible,
)
from cloudtrain.providers import Cloud, DeletionProof, Resource, StopOptions
from cloudtrain.state import identity

from .._lifecycle import recover
from .._lifecycle.crud import World
from .._lifecycle.journal import Journal
from . import command, owners
from .engine import Engine

if TYPE_CHECKING:
    from cloudtrain.plan import Plan
    from cloudtrain.records import MachineRecord
    from cloudtrain.state.protocol import Store

MACHINE = "machine"  # the role of what the job will run on
STANDING = ("building", "ready")


class EngineState:
    """The Pulumi engine as the recovery sees it."""

    def __init__(self, engine: Engine, force: bool = False) -> None:
        self.engine = engine
        self.force = force

    def take_lock(self) -> None:
        """End the engine and the plugins that still work on the run; then, and only then, take their lock away."""
        owners.end_owner(self.engine.store, self.engine.run, self.force)
        owners.end_orphans(self.engine.plugin_folder)
        for name in self.engine.store.children(owners.lock_folder(self.engine.run)):
            self.engine.store.delete(f"{owners.lock_folder(self.engine.run)}/{name}")

    def pending(self) -> list[tuple[str, dict[str, Any]]]:
        """Pending creates, if there is a stack at all."""
        return self.engine.pending() if self.engine.exists() else []

    def destroy(self) -> None:
        """Destroy, then drop pending creates."""
        if self.engine.exists():
            self.engine.destroy()
            self.engine.clear()

    def forget(self) -> None:
        """Remove the stack."""
        self.engine.forget()


def start(name: str, cloud: Cloud, plan: Plan, store: Store, log: Callable[[str], None]) -> MachineRecord:
    """Make the plan's machine and what belongs to it.

    On any failure, Ctrl-C included, what was made is removed first; raises what went wrong, in the provider's closed
    set and marked by `errors.mark_nothing_left`, or TeardownIncomplete when something may be left.
    """
    try:
        resources = cloud.resources(plan, cloud.account())
        # Asked before a call is made there: afterwards nothing could be proven.
        if why := cloud.unavailable_reason(plan.line.key):
            raise NoCapacity(why, "another place is tried")
    except CloudtrainError as error:
        mark_nothing_left(error)
        raise
    engine = Engine(store, plan.run, log)
    journal = Journal(store, plan.run)
    with command.terminated_as_interrupt():
        try:
            made = engine.up(name, resources)
            return machine_record(name, plan, resources, made)
        except BaseException as error:
            log(f"{'that failed' if isinstance(error, Exception) else 'interrupted'}; removing what was made")
            was_ended = is_ended(journal, plan.attempt)  # asked before our own marker is written
            world = World(name, cloud, journal, log=log, states=(plan.state,))
            remove(world, EngineState(engine), plan.attempt)
            outcome = reason(journal, plan.attempt, error)
            if was_ended and isinstance(error, Unavailable):
                outcome = Cancelled(f"run `{plan.run}` was ended by `cloudtrain down` while its machine was being made")
            mark_nothing_left(outcome)
            raise outcome from error


def remove(world: World, state: EngineState, attempt: int) -> DeletionProof:
    """Recover; who interrupts that as well hears that something may be left. Raises TeardownIncomplete."""
    try:
        return recover.recover(world, state, attempt)
    except KeyboardInterrupt:
        run = world.journal.run
        raise TeardownIncomplete(
            f"interrupted while run `{run}` was being removed: something of it may be left at {world.provider}",
            f"cloudtrain down {run}",
        ) from None
    except UsageError as error:  # the records cannot be read, so nothing is proven
        raise TeardownIncomplete(
            f"run `{world.journal.run}` is not proven gone from {world.provider}: {error.message}",
            f"cloudtrain down {world.journal.run} (before: {error.hint})",
        ) from error


def is_ended(journal: Journal, attempt: int) -> bool:
    """Whether the attempt has been ended, according to the state."""
    try:
        return journal.cancelled_attempt() >= attempt
    except UsageError:
        return False


def reason(journal: Journal, attempt: int, error: BaseException) -> BaseException:
    """What the provider said, out of the journal: the engine's own words are about the engine."""
    refusal = journal.last_refusal(attempt) if isinstance(error, Unavailable) else None
    if refusal is None:
        return error
    name, message, hint = refusal
    kind = getattr(errors, name, Unavailable)
    if kind is errors.Unknown:  # it is known by now: nothing of it is left
        kind = Unavailable
    if isinstance(kind, type) and issubclass(kind, ProviderError | Cancelled):
        return kind(message, "; ".join(part for part in (hint, "nothing of this attempt is left") if part))
    return error


def machine_record(name: str, plan: Plan, resources: Sequence[Resource], made: dict[str, Any]) -> MachineRecord:
    """What the run keeps of its machine."""
    from cloudtrain.records import MachineRecord

    resource = next(resource for resource in resources if resource.role == MACHINE)
    return MachineRecord(
        provider=name,
        id=made[MACHINE]["id"],
        kind=resource.kind,
        inputs=dict(resource.inputs),
        outputs=made[MACHINE]["outputs"],
        place=recover.describe_place(resource.inputs),
        created=time.time(),
        usd_per_hour=plan.line.price_usd_per_hour,
    )


def find(name: str, cloud: Cloud, run: str, store: Store, has_reported: bool) -> MachineRecord | None:
    """The machine that the newest attempt asked for, out of its journal, for a run whose client died before the answer.

    `has_reported`: it has written to the state, so it existed even if the cloud no longer shows it; else only one that
    the cloud shows counts. Its price is not known here. Raises a provider error when the cloud cannot be asked.
    """
    from cloudtrain.records import MachineRecord

    attempt = newest_attempt(store, run)
    for intent in reversed(Journal(store, run).intents()):
        asked = intent.call == "create" and intent.inputs.get("role") == MACHINE and intent.answer != "failed"
        if not asked or int(intent.inputs.get("attempt", 0)) != attempt:
            continue
        seen = next((s for s in cloud.drivers[intent.kind].find(intent.inputs) if s.state in STANDING), None)
        if seen is None and not has_reported:
            continue
        return MachineRecord(
            provider=name,
            id=seen.id if seen else intent.id or str(intent.inputs.get("name")),
            kind=intent.kind,
            inputs=dict(intent.inputs),
            outputs=dict(seen.outputs) if seen else {},
            place=recover.describe_place(intent.inputs),
            created=intent.time,
        )
    return None


def alive(cloud: Cloud, machine: MachineRecord) -> bool:
    """Whether the provider says that the machine exists. Raises a provider error when it cannot be asked."""
    if machine.kind not in cloud.drivers:
        raise Unavailable(f"the machine's record names a kind that is not known: `{visible(machine.kind)}`")
    try:
        seen = cloud.drivers[machine.kind].status(machine.inputs, machine.id)
    except (NotFound, NoCapacity):
        return False
    return seen.state in STANDING


def stop(name: str, cloud: Cloud, run: str, store: Store, stopping: StopOptions) -> DeletionProof:
    """End the run by the crash protocol, and attempts that a client has begun since. Raises TeardownIncomplete."""
    engine = Engine(store, run, stopping.log)
    world = World(name, cloud, Journal(store, run), log=stopping.log, states=identity.carried_by(store, run))
    ended, proof = 0, None
    while proof is None or ended < newest_attempt(store, run):
        ended = newest_attempt(store, run)
        proof = remove(world, EngineState(engine, stopping.force), ended)
    return proof


def newest_attempt(store: Store, run: str) -> int:
    """The attempt in the run's record; when that cannot be read the newest one of the journal."""
    from cloudtrain.records import IntentRecord
    from cloudtrain.state.errors import BucketDenied, BucketUnreachable
    from cloudtrain.state.store import read_record

    try:
        intent = read_record(store, f"runs/{run}/intent.json", IntentRecord)
    except (BucketDenied, BucketUnreachable):
        raise
    except UsageError:
        intent = None
    if intent is not None:
        return intent.attempt
    return max((int(each.inputs.get("attempt", 1)) for each in Journal(store, run).intents()), default=1)


def preview(name: str, cloud: Cloud, plan: Plan) -> Sequence[str]:
    """What would be made, as text, after the engine and the plugin have checked it; makes nothing, keeps nothing."""
    import tempfile
    from pathlib import Path

    from cloudtrain.state.store import LocalFolder

    resources = cloud.resources(plan, cloud.account())
    with tempfile.TemporaryDirectory(prefix="cloudtrain-preview-") as folder:
        engine = Engine(LocalFolder(Path(folder)), plan.run)
        try:
            counts = engine.preview(name, resources)
        finally:
            engine.forget()
    if sum(counts.values()) < len(resources):
        raise CloudtrainError(f"the engine's preview makes {counts}, not {len(resources)} resources")
    return [resource.summary or resource.role for resource in resources]
